"""Samples of different requests are scored together, and none notices the others."""

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from problems import kinds, pictures

from oddkind import InputError, load
from oddkind.serve.batching import Batcher, Scored

SAMPLES = {
    "vectors": kinds(64, seed=1)[0].astype(np.float32),
    "folds": kinds(24, seed=1)[0].astype(np.float32),
    "bytes": pictures(24, seed=1)[0],
}


def told(model, X, y):
    return Scored(*model.score_and_p_value(X, y))


@pytest.fixture(scope="module")
def loaded(models):
    return {name: load(models[name]) for name in SAMPLES}


async def in_thread(function, *given):
    return await asyncio.to_thread(function, *given)


@pytest.mark.parametrize("name", SAMPLES)
@settings(max_examples=15)
@given(data=st.data())
def test_no_bit_depends_on_the_other_requests(loaded, name, data):
    """Requests of any sizes, cut from the same samples, are answered as one request for all of them is."""
    model, X = loaded[name], SAMPLES[name]
    cuts = sorted(data.draw(st.sets(st.integers(1, len(X) - 1), max_size=8)))
    parts = np.split(X, cuts)
    whole = told(model, X, None)

    async def ask():
        batcher = Batcher(model, in_thread)
        return await asyncio.gather(*(batcher.score(part) for part in parts))

    found = asyncio.run(ask())
    assert_array_equal(np.concatenate([one.scores for one in found]), whole.scores)
    assert_array_equal(np.concatenate([one.p_values for one in found]), whole.p_values)


def test_what_arrives_during_a_pass_makes_up_the_next(loaded):
    sizes, begun = [], asyncio.Event()

    async def run(function, *given):
        begun.set()
        await asyncio.sleep(0.01)
        return function(*given)

    async def ask():
        batcher = Batcher(loaded["vectors"], run)
        batcher.on_batch = sizes.append
        first = asyncio.create_task(batcher.score(SAMPLES["vectors"][:1]))
        await begun.wait()
        await asyncio.gather(first, *(batcher.score(SAMPLES["vectors"][:2]) for _ in range(5)))

    asyncio.run(ask())
    assert sizes == [1, 10]


def test_labelled_and_unlabelled_samples_are_not_mixed(loaded):
    model, X = loaded["vectors"], SAMPLES["vectors"]
    y = np.ones(len(X), int)

    async def ask():
        batcher = Batcher(model, in_thread)
        return await asyncio.gather(*(batcher.score(X, labels) for labels in (y, None, y, None)))

    found = asyncio.run(ask())
    for one, labels in zip(found, (y, None, y, None), strict=True):
        right = told(model, X, labels)
        assert_array_equal(one.scores, right.scores)
        assert_array_equal(one.p_values, right.p_values)


def test_one_bad_request_does_not_harm_the_others(loaded):
    model, X = loaded["vectors"], SAMPLES["vectors"]

    async def run(function, X, y):
        if (X[:, 0] == 666).any():
            raise InputError("this cannot be scored")
        return function(X, y)

    async def ask():
        batcher = Batcher(model, run)
        bad = X[:2].copy()
        bad[1, 0] = 666
        return await asyncio.gather(*(batcher.score(part) for part in (X[:3], bad, X[3:])), return_exceptions=True)

    first, bad, last = asyncio.run(ask())
    assert isinstance(bad, InputError)
    assert_array_equal(first.scores, told(model, X[:3], None).scores)
    assert_array_equal(last.scores, told(model, X[3:], None).scores)


def test_a_request_that_was_given_up_is_not_scored(loaded):
    sizes, go = [], asyncio.Event()

    async def run(function, *given):
        await go.wait()
        return function(*given)

    async def ask():
        batcher = Batcher(loaded["vectors"], run)
        batcher.on_batch = sizes.append
        first = asyncio.create_task(batcher.score(SAMPLES["vectors"][:1]))
        await asyncio.sleep(0.01)
        given_up = asyncio.create_task(batcher.score(SAMPLES["vectors"][:5]))
        await asyncio.sleep(0.01)
        given_up.cancel()
        go.set()
        await first
        return await batcher.score(SAMPLES["vectors"][:2])

    asyncio.run(ask())
    assert sizes == [1, 2]
