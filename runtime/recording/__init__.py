"""Recordings: streams of latents in an MCAP file. See docs/recording_format.md."""

from vidtok_edge.runtime.recording.format.reader import Recording
from vidtok_edge.runtime.recording.format.tokenizer import Tokenizer
from vidtok_edge.runtime.recording.format.writer import RecordingWriter

__all__ = ["Recording", "RecordingWriter", "Tokenizer"]
