"""What is known of organisations: names, addresses and telephones of GP practices, from a file."""

from minispine.spine.ods.practice_file import OrganisationsInvalid, PracticeFile

__all__ = ["OrganisationsInvalid", "PracticeFile"]
