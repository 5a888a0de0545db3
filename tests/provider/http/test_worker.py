"""What a worker is put together from that can be tried without one; workers themselves are tried in the journeys."""

import uuid

from minispine.provider.http.worker import new_id


def test_a_new_id_is_a_random_uuid_in_upper_case() -> None:
    ids = [new_id() for _ in range(500)]
    assert len(set(ids)) == 500
    for one in ids:
        read = uuid.UUID(one)
        assert one == str(read).upper()
        assert (read.version, read.variant) == (4, uuid.RFC_4122)


def test_every_bit_of_a_new_id_that_may_be_random_is() -> None:
    numbers = [uuid.UUID(new_id()).int for _ in range(500)]
    changing = 0
    for one in numbers:
        changing |= one ^ numbers[0]
    assert changing.bit_count() == 122
