"""A fitted fleet of the machines of `fleet_machines`."""

import pytest
from fleet_machines import MACHINES

from oddkind import PromiseWarning, write_fleet
from oddkind.fleet.fitting import compact_detector


@pytest.fixture(scope="session")
def compact():
    return compact_detector(false_alarm_rate=0.05)


@pytest.fixture(scope="session")
def fleet_file(tmp_path_factory, compact):
    file = tmp_path_factory.mktemp("fleet") / "pumps.fleet"
    with pytest.warns(PromiseWarning, match="1 of 10 machines raise no alarm, such as fewer"):
        write_fleet(file, MACHINES, compact)
    return file
