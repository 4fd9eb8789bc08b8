"""What the page of the lab says: the finding of each section, the differences run by run, and the answers.

All numbers are computed from the results and the data, so they fit any choice of digits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from oddkind.arrays import Array
from oddkind.lab.measures import centre_rule, found_at, known, nearest_flags, rotations_mistaken, separation
from oddkind.lab.shown import SMOOTHED, ShownNetwork
from oddkind.language import Message
from oddkind.metrics import auc
from oddkind.model.formulas import msp, rotation_distance
from oddkind.samples import Samples
from oddkind.study.evaluation import Result, Row
from oddkind.study.reliability import reliability

TEMPERATURES = 0.5, 1.0, 3.0, 10.0
RATES = 0.01, 0.05, 0.1  # of false alarms


def percent(fraction: float) -> str:
    """Return a fraction as "12.3 %"."""
    return f"{100 * fraction:.1f} %"


def signed(value: float) -> str:
    """Return a difference of AUCs with its sign, such as "−0.012"."""
    return f"{round(value, 3) + 0:+.3f}".replace("-", "−")  # + 0: no minus zero


def paired(result: Result, name: str, against: str) -> dict[str, Any]:
    """Return the difference between the AUCs of two exercises, seed by seed, and whether it may be noise."""
    gain, interval = result[name].gain(result[against])
    found = {"name": name, "against": against, "gain": signed(gain), "interval": None, "sure": None}
    if interval is None:
        return found | {"verdict": Message("one run: cannot be told from noise; run more seeds")}
    low, high = interval
    sure = bool(low > 0 or high < 0)
    verdict = Message("more than noise") if sure else Message("may be noise")
    return found | {"interval": [signed(low), signed(high)], "sure": sure, "verdict": verdict}


def results(result: Result) -> dict[str, Any]:
    """Say how our runs compare with the lecture's."""
    compared, initial = [row for row in result.rows if row.lecture_inside is not None], result["initial"]
    if len(initial.auc) == 1:
        finding = Message("In the only run the initial network has an AUC of {auc}", auc=f"{initial.auc_mean:.3f}")
        unknown = Message(
            "There is one run here, so nothing is known about how much runs differ: run more seeds (--seeds)."
        )
        return {"finding": finding, "answer": [unknown], "gains": []}
    finding = Message(
        "{inside} of the {n} AUCs of the lecture lie in the range of our single runs",
        inside=sum(bool(row.lecture_inside) for row in compared),
        n=len(compared),
    )
    answer = [
        Message(
            "The same network, trained again with other random numbers, is another network: the AUC of the exercise "
            "“initial” lies between {low} and {high} in {n} runs. The lecture’s numbers are single runs, too.",
            low=f"{min(initial.auc):.3f}",
            high=f"{max(initial.auc):.3f}",
            n=len(initial.auc),
        ),
        Message(
            "Therefore this page compares exercises run by run, with the same random numbers, and gives the 95 % "
            "interval of the mean difference (Student’s t). If it contains 0, the difference may be noise."
        ),
    ]
    return {"finding": finding, "answer": answer, "gains": []}


def framework(result: Result, shown: Mapping[str, ShownNetwork], test: Samples) -> dict[str, Any]:
    """Say what the initial network achieves, and what a threshold does."""
    _, anomalous = known(test)
    scores = msp(shown["initial"].test.logits).mean(1)
    answer = [
        Message(
            "The AUC does not say: it averages over all thresholds. A threshold follows from the false alarms that can "
            "be afforded, and normal pictures are enough to set it. A picture raises an alarm if its score lies above "
            "the threshold."
        )
    ]
    for rate in RATES:
        cut, n_false, n_found = found_at(anomalous, scores, rate)
        answer.append(
            Message(
                "With at most {rate} false alarms the threshold is {cut}: {false} of {normal} normal pictures raise an "
                "alarm, and {found} of {odd} anomalies are found ({share}).",
                rate=f"{100 * rate:g} %",
                cut=f"{cut:.4g}",
                false=f"{n_false:,}",
                normal=f"{(~anomalous).sum():,}",
                found=f"{n_found:,}",
                odd=f"{anomalous.sum():,}",
                share=percent(n_found / anomalous.sum()),
            )
        )
    finding = Message(
        "The initial network classifies {accuracy} of the held-out normal pictures correctly; its mean AUC is {auc}",
        accuracy=percent(result["initial"].accuracy[0]),
        auc=f"{result['initial'].auc_mean:.3f}",
    )
    return {"finding": finding, "answer": answer, "gains": []}


def features(shown: Mapping[str, ShownNetwork], test: Samples, mapped: Array) -> dict[str, Any]:
    """Say whether anomalies have a place of their own among the features."""
    _, anomalous = known(test)
    own = nearest_flags(shown["initial"].test.features[mapped, 0], anomalous[mapped])
    odd = anomalous[mapped]
    finding = Message(
        "{share} of the anomalies have an anomaly as their nearest neighbour, although none was in training",
        share=percent(own[odd].mean()),
    )
    answer = [
        Message(
            "In part. Of the anomalies on the map, {own} have another anomaly as their nearest neighbour among the "
            "features; if they were mixed with the normal pictures, it would be {chance}. Of the normal pictures, "
            "{normal} have an anomaly as their nearest neighbour.",
            own=percent(own[odd].mean()),
            chance=percent(odd.mean()),
            normal=percent(own[~odd].mean()),
        ),
        Message(
            "Orange marks among the blue ones of a digit are anomalies that look like that digit to the network. "
            "Distances between groups that are far apart mean little on such a map."
        ),
    ]
    return {"finding": finding, "answer": answer, "gains": []}


def smoothing(result: Result, shown: Mapping[str, ShownNetwork]) -> dict[str, Any]:
    """Say what label smoothing changes."""
    gains = [
        paired(result, name, against)
        for name, against in zip(list(SMOOTHED.values())[1:], list(SMOOTHED.values()), strict=False)
    ]
    first, most = gains[0], max(SMOOTHED)
    n_classes = shown["initial"].test.logits.shape[-1]
    sentences = {
        True: Message("Label smoothing 0.1 changes the AUC by {gain}, more than noise", gain=first["gain"]),
        False: Message("Label smoothing 0.1 changes the AUC by {gain}, which may be noise", gain=first["gain"]),
        None: Message("Label smoothing 0.1 changes the AUC by {gain} in the only run", gain=first["gain"]),
    }
    ahead = np.subtract(result["label-smoothing-0.2"].auc, result["label-smoothing-0.1"].auc)
    answer = [
        Message(
            "Smoothing ε changes the training target of the true class from 1 to 1 − ε + ε/C. With ε = {most} even a "
            "perfectly normal picture is meant to have 1 − MSP = {target}, while no score can exceed {top}: the scores "
            "are pressed into what is left.",
            most=f"{most:g}",
            target=f"{most * (1 - 1 / n_classes):.3f}",
            top=f"{1 - 1 / n_classes:.3f}",
        ),
        Message(
            "The best ε can only be found by training again. 0.2 was better than 0.1 in {better} of {n} runs, and "
            "worse in {worse}.",
            better=int((ahead > 0).sum()),
            worse=int((ahead < 0).sum()),
            n=len(ahead),
        ),
    ]
    return {"finding": sentences[first["sure"]], "answer": answer, "gains": gains}


def temperature(result: Result, shown: Mapping[str, ShownNetwork], test: Samples) -> dict[str, Any]:
    """Say what the temperature changes, and what it is for."""
    _, anomalous = known(test)
    low, high = TEMPERATURES[0], TEMPERATURES[-1]
    before, after = (msp(shown["initial"].test.logits, t).mean(1) for t in (low, high))
    finding = Message(
        "From T = {low} to {high} the median normal score moves from {a} to {b}, and the AUC from {c} to {d}",
        low=f"{low:g}",
        high=f"{high:g}",
        a=f"{np.median(before[~anomalous]):.3f}",
        b=f"{np.median(after[~anomalous]):.3f}",
        c=f"{auc(anomalous, before):.3f}",
        d=f"{auc(anomalous, after):.3f}",
    )
    answer = [
        Message(
            "Calibration: a network that predicts with a probability of 90 % should be right 9 times in 10. T is "
            "fitted on held-out normal pictures by maximum likelihood; no anomaly is needed."
        )
    ]
    for name in list(SMOOTHED.values())[:2]:
        held_out, fitted = shown[name].held_out, shown[name].temperature
        assert held_out.targets is not None  # noqa: S101 - held-out samples have labels
        errors = [
            f"{reliability(held_out.logits[:, 0], held_out.targets[:, 0], temperature=t).expected_error:.4f}"
            for t in (1.0, fitted)
        ]
        values = {"name": name, "t": f"{fitted:.2f}", "before": errors[0], "after": errors[1]}
        answer.append(
            Message(
                "The network “{name}” is over-confident: the fitted temperature is T = {t}, and the expected "
                "calibration error changes from {before} to {after}.",
                **values,
            )
            if fitted > 1
            else Message(
                "The network “{name}” is under-confident: the fitted temperature is T = {t}, and the expected "
                "calibration error changes from {before} to {after}.",
                **values,
            )
        )
    answer.append(
        Message(
            "The AUC depends only on the order of the scores. With two classes T cannot change it; with more classes "
            "it can, a little. A threshold, however, must be chosen anew after T has changed."
        )
    )
    gains = [paired(result, "temperature-3", "label-smoothing-0.1"), paired(result, "temperature-fitted", "initial")]
    return {"finding": finding, "answer": answer, "gains": gains}


def comparison(shown: Mapping[str, ShownNetwork], test: Samples) -> dict[str, Any]:
    """Compare smoothing, which changes the model, with temperature, which changes the score."""
    labels, anomalous = known(test)
    apart = [separation(shown[name].test.features[~anomalous, 0], labels[~anomalous]) for name in SMOOTHED.values()]
    finding = Message(
        "Smoothing changes the network: the separation of its features goes from {first} to {last}. Temperature "
        "changes only the score",
        first=f"{apart[0]:.2f}",
        last=f"{apart[-1]:.2f}",
    )
    answer = [
        Message(
            "The temperature: it divides the logits of a trained network, so that every value can be tried in an "
            "instant, and the best one found on held-out data. Smoothing changes the target of the training; each "
            "level is another network, and has to be trained."
        ),
        Message(
            "Smoothing prevents an over-confident model, and moves its features: the separation is the mean distance "
            "between the mean features of the normal digits, divided by the mean distance of a picture to the mean of "
            "its own digit. Temperature prevents over-confident scores; the features, and the map, stay what they were."
        ),
        Message(
            "According to the lecture, smoothing enlarges the distances between classes. Measured relative to the "
            "spread within them, the separation goes from {first} without smoothing to {last} with {most}.",
            first=f"{apart[0]:.2f}",
            last=f"{apart[-1]:.2f}",
            most=f"{max(SMOOTHED):g}",
        ),
    ]
    return {"finding": finding, "answer": answer, "gains": []}


def rotnet(result: Result, shown: Mapping[str, ShownNetwork], test: Samples) -> dict[str, Any]:
    """Say how well rotations are recognised, and how often the circular distance ties."""
    _, anomalous = known(test)
    outputs, row = shown["rotnet"].test, result["rotnet"]
    right = [percent(1 - rotations_mistaken(outputs[rows])) for rows in (~anomalous, anomalous)]
    zero = rotation_distance(outputs.transform_logits()).mean(1) == 0
    finding = Message(
        "RotNet recognises {normal} of the rotations of normal digits, and {odd} of those of digits it never saw",
        normal=right[0],
        odd=right[1],
    )
    answer = [
        Message(
            "A predicted rotation has four values, and so the mean circular distance of four rotations has few. It is "
            "exactly 0, because all four rotations are recognised, for {normal} of the normal and {odd} of the "
            "anomalous pictures. These tie, no threshold can separate them, and the ROC curve is a straight line "
            "there.",
            normal=percent(zero[~anomalous].mean()),
            odd=percent(zero[anomalous].mean()),
        ),
        Message("The mean AUC is {auc}.", auc=f"{row.auc_mean:.3f}")
        if row.setting.lecture_auc is None
        else Message(
            "The mean AUC is {auc}; the lecture gives {lecture}.",
            auc=f"{row.auc_mean:.3f}",
            lecture=f"{row.setting.lecture_auc:.3f}",
        ),
    ]
    return {"finding": finding, "answer": answer, "gains": []}


def why(test: Samples) -> dict[str, Any]:
    """Say how often the position of the ink is enough to recognise the rotation."""
    _, anomalous = known(test)
    holds = centre_rule(test.inputs)
    values = {"normal": percent(holds[~anomalous].mean()), "odd": percent(holds[anomalous].mean())}
    finding = Message(
        "The centre of the ink reveals the rotation of {normal} of the normal and {odd} of the anomalous pictures",
        **values,
    )
    answer = [
        Message(
            "One would expect that shapes that look the same upside down, such as 0, 1 and 8, are confused, and that a "
            "9 is taken for a 6; the tables show how far this is true. But the shape is not the only clue."
        ),
        Message(
            "A picture is rotated around its middle. If the centre of its ink lies a fraction of a pixel below and to "
            "the right of the middle, every rotation moves that centre to another quarter. This holds for {normal} of "
            "the normal and {odd} of the anomalous pictures. For these, a rule that never looks at the shape "
            "recognises all four rotations, whatever the digit, and a network that finds it recognises those of "
            "anomalies as reliably as those of normal digits.",
            **values,
        ),
    ]
    return {"finding": finding, "answer": answer, "gains": []}


def shortcut(result: Result, shown: Mapping[str, ShownNetwork], test: Samples) -> dict[str, Any]:
    """Say what happens to RotNet when pictures are moved in training, so that the centre reveals nothing."""
    _, anomalous = known(test)
    rows = [result[f"rotnet{name}"] for name in ("", "-shifted", "-shifted-larger")]
    gains = [paired(result, "rotnet-shifted", "rotnet"), paired(result, "rotnet-shifted-larger", "rotnet")]
    wrong = [
        percent(rotations_mistaken(shown[name].test[kind]))
        for name in ("rotnet", "rotnet-shifted")
        for kind in (~anomalous, anomalous)
    ]
    values = {"gain": gains[0]["gain"], "before": f"{rows[0].auc_mean:.3f}", "after": f"{rows[1].auc_mean:.3f}"}
    sentences = {
        True: Message("Closing the shortcut changes the mean AUC from {before} to {after}, more than noise", **values),
        False: Message(
            "Closing the shortcut changes the mean AUC from {before} to {after}, which may be noise", **values
        ),
        None: Message("Closing the shortcut changes the AUC from {before} to {after} in the only run", **values),
    }
    answer = [
        Message(
            "Such a clue is called a shortcut: it solves the task without what the task was meant to teach. To test "
            "whether the network uses it, it is taken away: in training, every rotated picture is moved by up to "
            "{moves} pixels in each direction, at random. The centre of the ink can then lie in any quarter, and the "
            "shape is what is left to learn from. Test pictures are not moved.",
            moves=rows[1].setting.max_shift,
        ),
        Message(
            "The network of the first run now mistakes {normal} of the rotations of normal pictures instead of "
            "{normal_before}, and {odd} of those of digits that it never saw instead of {odd_before}.",
            normal=wrong[2],
            normal_before=wrong[0],
            odd=wrong[3],
            odd_before=wrong[1],
        ),
        Message(
            "The mean AUC of the circular distance is {before} with the shortcut, {after} without it, and {larger} "
            "with a larger network and moves of up to {moves} pixels.",
            before=values["before"],
            after=values["after"],
            larger=f"{rows[2].auc_mean:.3f}",
            moves=rows[2].setting.max_shift,
        ),
        *lecture_reached(rows[0].setting.lecture_auc, rows[1:]),
    ]
    return {"finding": sentences[gains[0]["sure"]], "answer": answer, "gains": gains}


def lecture_reached(lecture: float | None, rows: Sequence[Row]) -> list[Message]:
    """Compare the lecture's AUC of RotNet with the runs of the rows without the shortcut, if there are several."""
    if lecture is None or len(rows[0].auc) == 1:
        return []
    said = []
    for row in rows:
        low, high = min(row.auc), max(row.auc)
        values = {
            "lecture": f"{lecture:.3f}",
            "name": row.setting.name,
            "low": f"{low:.3f}",
            "high": f"{high:.3f}",
        }
        if low <= lecture <= high:
            said.append(
                Message("The lecture’s {lecture} lies within our single runs of {name} ({low} to {high}).", **values)
            )
        elif lecture > high:
            said.append(
                Message("The lecture’s {lecture} lies above our single runs of {name} ({low} to {high}).", **values)
            )
        else:
            said.append(
                Message("The lecture’s {lecture} lies below our single runs of {name} ({low} to {high}).", **values)
            )
    return said


def scores(result: Result) -> dict[str, Any]:
    """Compare other scores of the same networks with those of the lecture."""
    plain, turned = ([row for row in result.rows if same_network(row, result[name])] for name in ("initial", "rotnet"))
    gains = [paired(result, row.setting.name, "initial") for row in plain if row.setting.name != "initial"]
    gains += [paired(result, row.setting.name, "rotnet") for row in turned if row.setting.name != "rotnet"]
    best = [max(rows, key=lambda row: row.auc_mean) for rows in (plain, turned)]
    finding = Message(
        "The same networks, better scores: {first} reaches a mean AUC of {a} instead of {b}, {second} {c} instead of "
        "{d}",
        first=best[0].setting.name,
        a=f"{best[0].auc_mean:.3f}",
        b=f"{result['initial'].auc_mean:.3f}",
        second=best[1].setting.name,
        c=f"{best[1].auc_mean:.3f}",
        d=f"{result['rotnet'].auc_mean:.3f}",
    )
    smoothed = paired(result, "initial-max-logit", "label-smoothing-0.1")
    answer = [
        Message(
            "The softmax discards the common level of the logits. The score max-logit, minus the largest logit, keeps "
            "it: pictures of a kind that was never learnt tend to give smaller logits."
        ),
        Message(
            "Compared with 1 − MSP of the network with smoothing 0.1, max-logit of the network without smoothing "
            "differs by {gain} (mean of {n} runs).",
            gain=smoothed["gain"],
            n=len(result["initial"].auc),
        ),
        Message(
            "A predicted rotation does not contain how confident the network was; the expected distance and the "
            "likelihood of the true rotation do. The nearest neighbour compares the features with those of normal "
            "pictures in the same rotation, and does not use the predicted rotation at all."
        ),
    ]
    return {"finding": finding, "answer": answer, "gains": gains}


def same_network(row: Row, of: Row) -> bool:
    """Return whether a row uses the network of another, at the same temperature."""
    return row.setting.training == of.setting.training and row.setting.temperature == of.setting.temperature
