"""Recordings: streams of latents in an MCAP file. See docs/recording_format.md."""

from vidtok_edge.runtime.recording.reader import Recording
from vidtok_edge.runtime.recording.tokenizer import Tokenizer
from vidtok_edge.runtime.recording.writer import RecordingWriter

__all__ = ["Recording", "RecordingWriter", "Tokenizer"]
