"""Look of the page and its few lines of JavaScript; nothing is fetched from other hosts."""

from __future__ import annotations

import gradio as gr

CSS = """
.gradio-container { width: 100% !important; max-width: 1120px !important; min-width: 0 !important;
  margin-inline: auto !important; }
@media (max-width: 640px) { .gradio-container > main { padding: 0.75rem !important; } }
.almtok-line { margin: 0.25rem 0; }
.almtok-diff { margin: 0.25rem 0; font-size: 1.1rem; line-height: 1.7; }
.almtok-diff del { color: #b91c1c; text-decoration: line-through; }
.almtok-diff ins { color: #15803d; text-decoration: underline; text-underline-offset: 0.2em; }
.dark .almtok-diff del { color: #fca5a5; }
.dark .almtok-diff ins { color: #86efac; }
.almtok-table { overflow: auto; max-height: 22rem; margin: 0.5rem 0; }
.almtok-stimulus { align-items: center; }
@media (max-width: 640px) { .almtok-stimulus { flex-direction: column; align-items: stretch; } }
@media (max-width: 640px) { .tab-container > button { padding-inline: 0.55rem !important; } }
.almtok-table table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
.almtok-table caption { text-align: left; font-weight: 600; padding: 0.25rem 0; }
.almtok-table :is(th, td) { text-align: left; padding: 0.3rem 0.6rem;
  border-width: 0 0 1px !important;
  border-style: solid !important; border-color: var(--border-color-primary) !important; }
[data-testid="waveform-controls"] button { color: var(--body-text-color) !important;
  border-color: currentColor !important; }
.almtok-pair { display: grid; gap: 0.75rem;
  grid-template-columns: repeat(auto-fit, minmax(min(280px, 100%), 1fr)); }
.almtok-figure { margin: 0.5rem 0; }
.almtok-figure img { width: 100%; height: 150px; border-radius: 4px; }
.almtok-codes img { height: 72px; image-rendering: pixelated; }
.almtok-figure figcaption { font-size: 0.9rem; margin-top: 0.2rem; }
.almtok-player { display: flex; align-items: center; gap: 0.6rem; margin: 0.3rem 0; }
.almtok-player span { min-width: 5.5rem; font-weight: 600; }
.almtok-player audio { flex: 1 1 auto; min-width: 0; width: 100%; height: 40px; }
.dark .almtok-player audio { color-scheme: dark; }
:is(button, input, textarea, audio, [role="tab"], [tabindex="0"]):focus-visible {
  outline: 2px solid var(--color-accent) !important; outline-offset: 2px; }
"""

# Plays `speech/TICKET` while it comes; one player of the page at a time.
HEAD = """
<script>
window.almtok = { played: 0, context: null };
window.almtok.ticket = () => Array.from(crypto.getRandomValues(new Uint8Array(16)),
  (byte) => byte.toString(16).padStart(2, "0")).join("");
window.almtok.stop = () => { if (almtok.context) almtok.context.close(); almtok.context = null; };
window.almtok.play = async (ticket) => {
  almtok.stop();
  const context = new AudioContext();
  Object.assign(almtok, { context, played: 0 });
  const answer = await fetch(new URL("speech/" + ticket, document.baseURI));
  if (!answer.ok) return;
  const rate = Number(answer.headers.get("X-Sample-Rate")), reader = answer.body.getReader();
  let at = 0, rest = new Uint8Array(0);
  for (;;) {
    const { done, value } = await reader.read();
    if (done || almtok.context !== context) return;
    const bytes = new Uint8Array(rest.length + value.length);
    bytes.set(rest); bytes.set(value, rest.length);
    const count = bytes.length >> 1;
    rest = bytes.slice(2 * count);
    if (!count) continue;
    const view = new DataView(bytes.buffer), buffer = context.createBuffer(1, count, rate);
    const samples = buffer.getChannelData(0);
    for (let i = 0; i < count; i++) samples[i] = view.getInt16(2 * i, true) / 32768;
    const source = context.createBufferSource();
    source.buffer = buffer;
    source.connect(context.destination);
    at = Math.max(at, context.currentTime + 0.05);
    source.start(at);
    at += buffer.duration;
    almtok.played += buffer.duration;
  }
};
document.addEventListener("play", (event) => {
  for (const other of document.querySelectorAll("audio"))
    if (other !== event.target) other.pause();
}, true);
</script>
"""


def theme() -> gr.themes.Base:
    """Gradio's default theme with the fonts of the system and enough contrast for small texts."""
    base = gr.themes.Default(
        primary_hue="blue",
        font=("system-ui", "sans-serif"),
        font_mono=("ui-monospace", "monospace"),
    )
    return base.set(
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        block_label_text_color="*neutral_700",
        block_title_text_color="*neutral_800",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
    )
