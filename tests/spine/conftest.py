"""An authority, a pair of certificates, and the endpoint that trusts them."""

from pathlib import Path

import pytest

from minispine.spine.http import Endpoint
from tests.spine.servers import SECRET, Authority, Pair


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pki")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder, "Spine")


@pytest.fixture(scope="module")
def server_pair(authority: Authority) -> Pair:
    return authority.issue("localhost")


@pytest.fixture(scope="module")
def client_pair(authority: Authority) -> Pair:
    return authority.issue("provider")


@pytest.fixture
def endpoint(authority: Authority, client_pair: Pair) -> Endpoint:
    return Endpoint(
        url=f"https://localhost:1/{SECRET}",
        certificate=client_pair[0],
        key=client_pair[1],
        ca=authority.file,
        connect_timeout_s=5.0,
    )
