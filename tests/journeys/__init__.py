"""Journeys: the whole product as processes over real sockets, from the chair of each person who meets it."""
