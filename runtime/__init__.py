"""The torch-free runtime: a bundle, a streaming encoder and a streaming decoder."""

from vidtok_edge.runtime.bundle import Bundle
from vidtok_edge.runtime.streaming.decoder import Picture, StreamDecoder
from vidtok_edge.runtime.streaming.encoder import StreamEncoder
from vidtok_edge.runtime.streaming.latents import Latent, Latents, Stamp

__all__ = ["Bundle", "Latent", "Latents", "Picture", "Stamp", "StreamDecoder", "StreamEncoder"]
