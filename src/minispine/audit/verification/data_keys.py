"""The key of each payload, without which nobody can ever read it, however well it is kept.

Payloads are checked without being read, so a key that is gone or was exchanged would not show in them.
"""

from minispine.audit.vault import WRAPPED_BYTES, PayloadUnreadable, Vault, salt_of


def wrong_with_key(wrapped: bytes, salt: bytes | None, vault: Vault | None) -> str | None:
    """What is wrong with a wrapped key; None if it is as it should be.

    Without `vault` only its length can be seen. `salt` is that of the payload, None where the payload is not at hand.
    """
    if len(wrapped) != WRAPPED_BYTES:
        return "the key of the payload is of another length"
    if vault is None:
        return None
    try:
        data_key = vault.data_key(wrapped)
    except PayloadUnreadable as problem:
        return f"the key of the payload cannot be used: {problem}"
    if salt is not None and salt_of(data_key) != salt:
        return "the key of the payload is not the one that it was written with"
    return None
