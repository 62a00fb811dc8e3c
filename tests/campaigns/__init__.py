"""Campaigns: longer checks of this project, each a program, and nothing that anybody else needs."""
