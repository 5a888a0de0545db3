"""The append-only log of everything that happened, which nobody can change unnoticed. Both products use it.

The rest of the product sees `AuditLog.append` and what reads; nothing of storage. Where to find what:

Writing a record
    ``events`` and ``actor`` what can be said, ``catalogue`` what each event has to say and where; ``encoding`` the
    bytes of a record, ``vault`` its encryption, ``terms`` by what it is found; ``log`` the front door, ``writer`` the
    thread behind it, ``sealing`` one transaction; ``changes`` a change of the registry with its record, ``peers``
    refusals by the minute.

The tree and its checkpoints
    ``merkle``, ``tiles``, ``note`` and ``checkpoint`` are RFC 6962 and the formats of C2SP, without I/O; ``tree`` the
    tree as it is stored; ``checkpointing`` makes a checkpoint, ``publishing`` writes the log for others to read,
    ``witnesses`` takes checkpoints outside, ``issuing`` is all of that in its turn, ``outside`` who has not seen them.

Keys
    ``declaration`` the public keys as the log states them, ``keyfiles`` the secret ones, ``opening`` both together.

Reading
    ``reading`` records by their numbers, ``index`` and ``search`` by what is in them; ``looking`` records who looks;
    ``tracing``, ``subject_access``, ``as_answered``, ``words`` and ``export`` are for people and other programs.

Being sure of it
    ``verification`` from a database, a published log or a backup; ``evidence`` a part of the log that proves itself.

Keeping it
    ``redaction`` and ``removal_request`` destroy payloads by order; ``archive`` moves them to files; ``rotation``
    replaces master keys; ``backup`` and ``restoration`` bring a log back; ``forecast`` says when the disk is full.
"""
