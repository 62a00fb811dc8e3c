"""The protocol of the durable tree as a model in Promela, and what Spin finds about it."""
