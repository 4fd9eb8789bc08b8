import pytest

from oddkind import InputError
from oddkind.watch.state import State, Step


@pytest.fixture
def state(tmp_path):
    state = State(tmp_path / "state")
    yield state
    state.close()


def test_a_step_is_there_after_a_restart(tmp_path):
    state = State(tmp_path)
    state.commit(Step({"file:a": "1"}, {"next": 3}, [(0.5, "fan")], [(1, ["out", "web"], "x"), (2, ["out"], "y")]))
    state.close()
    again = State(tmp_path)
    assert again.marks() == {"file:a": "1"}
    assert again.fact("next") == 3
    assert again.fact("unknown", "default") == "default"
    assert [*again.observations()] == [(0.5, "fan")]
    assert again.undelivered("out") == [(1, "x"), (2, "y")]
    assert again.undelivered("out", 1) == [(1, "x")]
    assert again.n_undelivered("web") == 1
    again.close()


def test_what_is_delivered_leaves_the_outbox_with_its_facts(state):
    state.commit(Step(lines=[(number, ["out"], str(number)) for number in range(5)]))
    state.delivered("out", 2, {"end": 7})
    assert [number for number, _ in state.undelivered("out")] == [3, 4]
    assert state.fact("end") == 7


def test_a_step_that_fails_changes_nothing(state):
    state.commit(Step({"a": "1"}, lines=[(1, ["out"], "x")]))
    with pytest.raises(Exception, match="UNIQUE"):
        state.commit(Step({"a": "2"}, {"next": 9}, [(1.0, "")], [(1, ["out"], "again")]))
    assert state.marks() == {"a": "1"}
    assert state.fact("next") is None
    assert not [*state.observations()]


def test_marks_facts_and_observations_are_forgotten(state):
    state.commit(Step({"file:a": "", "message:1": ""}, {"next": 1, "martingale": {}}, [(0.0, "")]))
    state.forget("message:", ["martingale"], observations=True)
    assert state.marks() == {"file:a": ""}
    assert state.fact("next") == 1
    assert state.fact("martingale") is None
    assert not [*state.observations()]


def test_two_watches_do_not_use_one_state(tmp_path):
    state = State(tmp_path)
    with pytest.raises(InputError, match="another watch uses this state"):
        State(tmp_path)
    state.close()
    State(tmp_path).close()


def test_a_state_of_another_thread_shares_it(state):
    other = state.another()
    state.commit(Step({"a": "1"}))
    assert other.marks() == {"a": "1"}
    other.close()


@pytest.mark.parametrize("name", ["file", "file/inside"])
def test_a_folder_that_cannot_be_written_is_refused(tmp_path, name):
    (tmp_path / "file").write_text("text")
    with pytest.raises(InputError, match="--state"):
        State(tmp_path / name)


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "watch.sqlite").write_bytes(b"no database " * 100)
    with pytest.raises(InputError, match="--state"):
        State(tmp_path)
