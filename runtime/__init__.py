"""The torch-free runtime: a bundle, a streaming encoder and a streaming decoder."""

from vidtok_edge.runtime.bundle import Bundle
from vidtok_edge.runtime.decoder import Picture, StreamDecoder
from vidtok_edge.runtime.encoder import Latents, StreamEncoder

__all__ = ["Bundle", "Latents", "Picture", "StreamDecoder", "StreamEncoder"]
