"""The page in headless Chromium: real clicks on every tab, the shipped model behind them."""

import json

import pytest
import soundfile

from ...pace import patience

pytestmark = pytest.mark.slow
TABS = ("Speak", "Clone", "Transcribe", "Sound and Music", "Codec", "Compare")
SECONDS = 20  # of a quiet machine, for anything that the model makes


@pytest.fixture(scope="module")
def served(serve):
    return serve()


@pytest.fixture(scope="module")
def requests():
    """Addresses that the browser asked for."""
    return []


@pytest.fixture(scope="module")
def page(browser, served, requests):
    return opened(browser, served, requests, 1200)


@pytest.fixture(scope="module")
def talk(tmp_path_factory, root):
    """Speech of 1.5 s."""
    wav, rate = soundfile.read(root / "docs" / "samples" / "tts.ogg")
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    soundfile.write(path, wav[: int(1.5 * rate)], rate)
    return path


def opened(browser, served, requests, width):
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.set_default_timeout(1000 * patience(SECONDS))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(served.address)
    return page


def open_tab(page, name):
    """Choose a tab, in the menu of tabs if the screen is narrow; return its panel."""
    page.get_by_role("tab", name="Speak", exact=True).wait_for()
    tab = page.get_by_role("tab", name=name, exact=True)
    if not tab.is_visible():
        page.locator(".overflow-menu > button").first.click()
        tab = page.locator(".overflow-dropdown button", has_text=name)
    tab.click()
    panel = page.get_by_role("tabpanel").filter(visible=True).first
    panel.wait_for()
    return panel


def press(panel, name):
    panel.get_by_role("button", name=name, exact=True).filter(visible=True).click()


def give(panel, path):
    """Upload a file and wait until the page has it."""
    panel.locator("input[type=file]").set_input_files(path)
    panel.locator("[data-testid^=waveform]").first.wait_for()


def answers_of(served):
    lines = served.answers.read_text().splitlines() if served.answers.exists() else []
    return [json.loads(line) for line in lines]


def message(page):
    """The text of the message that is shown, which is then closed."""
    box = page.get_by_test_id("toast-body").first
    text = box.get_by_test_id("toast-text").inner_text()
    box.get_by_test_id("toast-close").click()
    box.wait_for(state="detached")
    return text


def test_speech_is_played_while_it_is_made_and_checked(page, requests):
    panel = open_tab(page, "Speak")
    panel.get_by_label("Text").fill("Good morning.")
    press(panel, "Speak")
    panel.get_by_text("Word times").wait_for()
    assert panel.get_by_text("Self-check:").is_visible()
    seconds = float(panel.get_by_text("s of speech.").inner_text().split()[0])
    assert page.evaluate("almtok.played") == pytest.approx(seconds, abs=0.1)
    assert any("/speech/" in address for address in requests)
    assert panel.locator(".almtok-diff").inner_text()
    assert panel.get_by_test_id("waveform-Speech").is_visible()
    assert "morning" in panel.locator(".almtok-table").inner_text()


def test_the_keyboard_alone_speaks_without_streaming(page):
    panel = open_tab(page, "Speak")
    page.get_by_role("tab", name="Speak", exact=True).focus()

    def press_tab_until(label, most=30):
        for _ in range(most):
            page.keyboard.press("Tab")
            focused = page.evaluate(
                "(e => e.ariaLabel || (e.closest('label') || e).innerText || '')"
                "(document.activeElement)"
            )
            if focused.strip().startswith(label):
                return
        raise AssertionError(f"{label} has no place in the order of the focus")

    press_tab_until("Text")
    page.keyboard.press("Control+A")
    page.keyboard.type("Hello.")
    press_tab_until("Streaming")
    page.keyboard.press("Space")
    press_tab_until("Speak")
    page.keyboard.press("Enter")
    panel.get_by_text("Made in").wait_for()
    assert panel.get_by_text("Self-check:").is_visible()
    assert panel.get_by_test_id("waveform-Speech").is_visible()


def test_a_model_that_cannot_clone_says_so(page):
    panel = open_tab(page, "Clone")
    assert panel.get_by_text("This model does not imitate the voice of a recording").is_visible()
    assert panel.get_by_role("button", name="Speak in this voice").is_disabled()
    assert panel.get_by_label("This is my own voice").is_disabled()


def test_a_file_is_transcribed_and_a_wrong_one_is_a_sentence(page, talk, tmp_path):
    panel = open_tab(page, "Transcribe")
    press(panel, "Transcribe")
    assert message(page) == "There is no audio: choose a file or record something first."
    give(panel, talk)
    press(panel, "Transcribe")
    panel.get_by_text("s of audio, transcribed in").wait_for()
    assert "happy dog" in panel.get_by_label("Transcript").input_value()
    assert "dog" in panel.locator(".almtok-table").inner_text()
    panel.get_by_label("Clear").first.click()
    bad = tmp_path / "bad.wav"
    bad.write_text("no sound")
    panel.locator("input[type=file]").set_input_files(bad)
    panel.get_by_label("Clear").first.wait_for()
    press(panel, "Transcribe")
    text = message(page)
    assert "bad.wav" in text and "/" not in text and "\n" not in text


def test_draws_of_a_sound_lie_side_by_side(page):
    panel = open_tab(page, "Sound and Music")
    panel.get_by_label("number input for Seconds").fill("1")
    panel.get_by_label("number input for Draws").fill("2")
    panel.get_by_label("Seed").fill("7")
    press(panel, "Generate")
    panel.get_by_text("2 draws made").wait_for()
    assert [panel.get_by_test_id(f"waveform-Seed {seed}").count() for seed in (7, 8)] == [1, 1]


def test_a_recording_of_the_microphone_goes_through_the_codec(page):
    panel = open_tab(page, "Codec")
    panel.get_by_label("Record audio").click()
    panel.get_by_role("button", name="Record", exact=True).click()
    page.wait_for_timeout(1000)  # milliseconds of sound
    # A recording that is not with the server yet cannot be encoded.
    with page.expect_response(lambda response: "/upload" in response.url):
        panel.get_by_role("button", name="Stop", exact=True).click()
    panel.locator("[data-testid^='waveform-Audio']").first.wait_for()
    panel.get_by_label("number input for Frames per code").fill("7")
    press(panel, "Encode and decode")
    panel.get_by_text("Rate of the codes").wait_for()
    assert "354 bit/s" in panel.locator(".almtok-table").inner_text()
    assert panel.get_by_role("img").filter(visible=True).count() >= 3
    assert panel.get_by_test_id("waveform-Reconstruction").is_visible()


def test_a_rate_that_was_not_trained_is_decoded_with_a_warning(page):
    panel = open_tab(page, "Codec")
    panel.get_by_label("number input for Frames per code").fill("3")
    press(panel, "Encode and decode")
    assert message(page).startswith("The codec was not trained with w = 3 (only 5 to 7)")
    panel.get_by_text("825 bit/s").wait_for()


def test_two_listening_tests_from_the_clips_to_the_results(page, served, talk):
    panel = open_tab(page, "Compare")
    press(panel, "Start ABX")
    assert message(page) == "There are no clips to compare: make them first."
    panel.locator("input[type=file]").set_input_files(talk)
    panel.get_by_text("talk").first.wait_for()
    press(panel, "Make clips")
    panel.get_by_text("Ready: 1 clip of reference, w = 5, w = 7.").wait_for()
    panel.get_by_label("Listener").fill("Ann")
    panel.get_by_label("number input for Trials").fill("4")
    press(panel, "Start ABX")
    for number in range(1, 5):
        panel.get_by_text(f"Trial {number} of 4").wait_for()
        sources = panel.locator("audio[src^='data:audio/flac']").evaluate_all(
            "players => players.map(player => player.src)"
        )
        assert len(sources) == 3 and sources[2] in sources[:2]
        x = "X is A" if sources[2] == sources[0] else "X is B"
        panel.get_by_label(x).check()
        press(panel, "Next")
    panel.get_by_text("4 of 4 right").wait_for()
    assert [answer["correct"] for answer in answers_of(served)] == [True] * 4

    page.get_by_role("tab", name="MUSHRA", exact=True).click()
    press(panel, "Start MUSHRA")
    panel.get_by_text("Page 1 of 1").wait_for()
    for name, score in zip("ABCD", (100, 60, 40, 20), strict=True):
        panel.get_by_label(f"number input for Score of {name}").fill(str(score))
    press(panel, "Next")
    panel.get_by_text("Thank you").wait_for()
    answer = answers_of(served)[-1]
    assert answer["listener"] == "Ann" and answer["item"] == "talk"
    assert [answer["scores"][system] for system in answer["order"]] == [100, 60, 40, 20]
    assert set(answer["order"]) == {"reference", "w = 5", "w = 7", "anchor 3.5 kHz"}

    page.get_by_role("tab", name="Results", exact=True).click()
    press(panel, "Show results")
    panel.get_by_text("5 answers in answers.jsonl.").wait_for()
    abx, mushra = panel.locator(".almtok-table").all_inner_texts()
    assert "4 of 4" in abx and "0.062" in abx
    assert "60.0 [60.0, 60.0]" in mushra


def test_a_voice_is_imitated_only_with_consent(browser, serve, pipeline, requests, talk):
    """The shipped model does not sound like the recording; what is tested is the page."""
    configs = pipeline.lm.config, pipeline.processor.config
    with pytest.MonkeyPatch.context() as patch:
        for config in configs:
            patch.setattr(config, "supports_cloning", True)
        patch.setattr("almtok.serve.ui.clone.can", lambda *_: False)  # no self-check: one try
        page = opened(browser, serve(), requests, 1200)
        panel = open_tab(page, "Clone")
        button = panel.get_by_role("button", name="Speak in this voice")
        assert button.is_disabled()
        give(panel, talk)
        panel.get_by_label("Text to speak").fill("Hello.")
        panel.get_by_label("This is my own voice").check()
        button.click()
        panel.get_by_text("s of speech.").wait_for()
        panel.get_by_label("This is my own voice").uncheck()
        button.and_(page.locator(":disabled")).wait_for()
        page.close()


def test_a_phone_needs_no_horizontal_scrolling_and_has_every_tab(browser, served, requests):
    page = opened(browser, served, requests, 390)
    for name in TABS:
        panel = open_tab(page, name)
        panel.locator("button, input, textarea").filter(visible=True).first.wait_for()
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390, f"{name}: {width} px"
    page.close()


def test_no_request_leaves_this_machine(page, requests):
    """Last: it looks at the requests of all tests above."""
    assert len(requests) > 20
    own = ("http://127.0.0.1:", "data:", "blob:http://127.0.0.1:")
    assert [address for address in requests if not address.startswith(own)] == []
