"""Voices: mixtures of them, and mixtures that are drawn as new speakers."""

import pytest

from almtok.lm.synthesis.voices import check_names, draw_mixture, parse_numbers, parse_recipe

NAMES = ["af_bella", "af_heart", "am_adam", "bf_emma", "bm_george"]


def test_recipes():
    assert parse_recipe("af_heart") == [("af_heart", 1.0)]
    assert parse_recipe("a:0.6+b:0.4") == [("a", pytest.approx(0.6)), ("b", pytest.approx(0.4))]
    assert parse_recipe("a+b+c:2")[2] == ("c", 0.5)
    for wrong in ("", "a+", "a:0", "a:-1", "a:x", "a:nan", "a:inf", ":1"):
        with pytest.raises(ValueError, match="a voice must be NAME or"):
            parse_recipe(wrong)


def test_mixtures_stay_the_same():
    """Manifests name them: another draw would give their names to other speakers."""
    assert draw_mixture(1, NAMES) == draw_mixture(1, list(NAMES))
    drawn = [draw_mixture(number, NAMES) for number in range(1, 101)]
    assert [voice.name for voice in drawn[:2]] == ["mix-0001", "mix-0002"]
    assert len({voice.recipe for voice in drawn}) > 90
    sizes = set()
    for voice in drawn:
        parts = parse_recipe(voice.recipe)
        sizes.add(len(parts))
        assert len({name for name, _ in parts}) == len(parts)
        assert {name for name, _ in parts} <= set(NAMES)
        assert all(share > 0.19 for _, share in parts)
        assert sum(share for _, share in parts) == pytest.approx(1)
    assert sizes == {2, 3}
    assert draw_mixture(1, NAMES).recipe == "bm_george:0.44+am_adam:0.32+af_heart:0.24"


def test_mixtures_need_two_voices():
    with pytest.raises(ValueError, match="at least two voices, got a"):
        draw_mixture(1, ["a"])
    assert len(parse_recipe(draw_mixture(1, ["a", "b"]).recipe)) == 2


def test_numbers_of_mixtures():
    assert parse_numbers("3") == range(1, 4)
    assert parse_numbers("51-60") == range(51, 61)
    for wrong in ("0", "-1", "5-4", "0-3", "1.5", "x", ""):
        with pytest.raises(ValueError, match="range like 51-60"):
            parse_numbers(wrong)


def test_unknown_voices_are_answered_with_near_ones():
    check_names("af_heart:0.5+am_adam:0.5", NAMES)
    with pytest.raises(ValueError, match="unknown voice 'af_hart'; there are af_heart"):
        check_names("am_adam+af_hart", NAMES)
    with pytest.raises(ValueError, match="'zzz'; there are af_bella, .* and 12 more"):
        check_names("zzz", [*NAMES, *(f"voice{n}" for n in range(15))])
