"""The tree itself, in memory and durable: shape, roots, proofs, attacks, bad input, threads."""
