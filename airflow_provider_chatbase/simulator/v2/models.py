"""Models, voices and transcribers that can be set; an agent may show other models."""

from __future__ import annotations

SETTABLE = (
    "gpt-4o-mini",
    "gpt-oss-120b",
    "gpt-oss-20b",
    "gpt-5.2",
    "gpt-5.5",
    "gpt-5.6-terra",
    "gpt-5.6-luna",
    "gpt-5-mini",
    "gpt-5-nano",
    "claude-opus-4-8",
    "claude-opus-4-7",
    "claude-opus-4-6",
    "claude-sonnet-4-6",
    "claude-opus-4-5",
    "claude-haiku-4-5",
    "claude-sonnet-4-5",
    "gemini-2.5-pro",
    "gemini-3-flash",
    "gemini-3.1-flash-lite",
    "gemini-3.1-pro",
    "gemini-3.5-flash",
    "gemini-3.5-flash-lite",
    "gemini-3.6-flash",
    "grok-3",
    "grok-3-mini",
    "grok-4",
    "DeepSeek-V3",
    "DeepSeek-R1",
    "DeepSeek-V4-Flash",
    "Llama-4-Scout-17B-16E-Instruct",
    "Llama-4-Maverick-17B-128E-Instruct-FP8",
    "kimi-k2",
    "mistral-medium-3.5",
    "mistral-small-2603",
    "glm-5.2",
    "auto",
)
DEFAULT = "gpt-4o-mini"
RETIRED = "gpt-4o"

_VOICE_NAMES = """
Sarah|Laura|Alice|Matilda|Jessica|Lily|Bella|Roger|George|Charlie|Adam|Daniel|Brian|Eric|Chris|
Liam|Harry|Will|Bill|Callum|Masry|Hanafi|Alberto Rodríguez|Jhenny|Anna|Peter|Marc Aurèle|
Marie Line|Yasmin Alves|Lax|Skylar|Corey|Jacqueline|Blake|Pedro|Marta|Alloy|Ash|Ballad|Coral|Echo|
Fable|Nova|Onyx|Sage|Shimmer|Nouran|Nermin|Othman|Layla|Nada|Mariam|Samir|Eman|Haneen|Fahd|Jasem|
Marwa|Razan|Yehya|Hamdan|Zephyr|Puck|Charon|Kore|Fenrir|Leda|Orus|Aoede|Enceladus|Sulafat|Mina|
Nina|Ruby|Mason|Rohan
"""
VOICES = tuple(name.strip() for name in _VOICE_NAMES.split("|"))
TRANSCRIBERS = (
    "elevenlabs/scribe_v2_realtime",
    "cartesia/ink-2",
    "cartesia/ink-whisper",
    "deepgram/nova-3",
    "deepgram/nova-2",
    "deepgram/flux-general-multi",
    "soniox/stt-rt-v5",
    "soniox/stt-rt-v4",
    "hamsa/hamsa-ar",
)
