"""Organisations: names, addresses and telephones of practices."""
