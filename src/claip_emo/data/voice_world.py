"""Between a voice and its recording: other speakers, noise, rooms, microphones, codecs, levels.

Corpora are clean; videos are not. Operations follow each other as in the world. All that is linear
is one product of spectra; every draw comes from the generator of the call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from claip_emo.pretrain_recipe import VoiceWorldRecipe

Sound = NDArray[np.float32]
Gains = NDArray[np.float32]

BLOCK_S = 0.02  # in which loudness is measured
PAUSE_DB = -30.0  # blocks that far below the loudest are pauses
HOP_S = 0.02  # from one piece of a stretched sound to the next; a piece is twice as long
COARSE_HZ = 8_000  # rate at which pieces are compared
LAYER_DB = 6.0  # of several sounds behind a voice, how much louder one is than another, at most
SPEAKERS = (3, 8)  # of babble
NOISE_SLOPE = (0.0, 2.0)  # power falls with this exponent of the frequency: white to brown
LOWEST_HZ = 50.0  # below it, where no tower listens, deep noise does not grow
CHORDS = ((0, 4, 7), (0, 3, 7), (0, 5, 9), (0, 4, 7, 10), (0, 3, 7, 10))  # semitones
CHORD_S = (0.25, 1.2)
ROOT_HZ = (65.0, 330.0)
HARMONICS = 8
WAVE = 2048  # samples of one period of a tone
DIRECT_DB = (-3.0, 12.0)  # of the direct sound above the room's
DECAY_DB = 60.0  # by which the room's sound falls in ``decay_s``
EQUALISER_HZ = (60.0, 12_000.0)  # lowest and highest band
BANDS = 9
BAND_ORDERS = (4, 24)  # of the band's edges: 24 to 144 dB per octave
GRID = 2048  # steps of the frequency in which a microphone is drawn: its response stays short


@dataclass(frozen=True, slots=True)
class Codec:
    """A lossy codec of PyAV.

    Attributes:
        encoder: its name, and that of the decoder.
        rate_hz: samples per second that it is given.
        kbit_s: least and most that it may use; None: it has no choice.
        options: the quickest settings.
    """

    encoder: str
    decoder: str
    rate_hz: int
    kbit_s: tuple[int, int] | None = None
    options: dict[str, str] = field(default_factory=dict)


TELEPHONE = Codec("pcm_mulaw", "pcm_mulaw", 8_000)
CODECS = tuple(
    codec
    for codec in (
        TELEPHONE,
        Codec("libopus", "opus", 48_000, (6, 24), {"compression_level": "0"}),
        Codec("libmp3lame", "mp3float", 16_000, (16, 48), {"compression_level": "9"}),
    )
    if codec.encoder in av.codecs_available  # builds of FFmpeg differ; the first is in all
)


class VoiceWorld:
    """Records a voice as the world would.

    Args:
        recipe: shares and strengths; what they switch off leaves the samples as they are.
        rate: samples per second.
    """

    def __init__(self, recipe: VoiceWorldRecipe, rate: int):
        """Take the settings; every draw comes from the generator of the call."""
        self.recipe = recipe
        self.rate = rate

    def __call__(
        self, samples: Sound, rng: np.random.Generator, others: Sequence[Sound] = ()
    ) -> Sound:
        """Record a voice.

        Args:
            samples: (n,) float32 in [-1, 1], mono; it is not changed.
            rng: generator of every draw.
            others: other voices at the same rate, for the babble; without any there is none.

        Returns:
            (m,) float32 in [-1, 1], as long as the speaker's tempo makes it: n / speed.
        """
        recipe = self.recipe
        if not len(samples):
            return samples.copy()
        spoken = self.speaker(samples, rng)
        recorded = self.transfer(spoken + self.behind(spoken, rng, others), rng)
        if rng.random() < recipe.codec:
            codec = CODECS[rng.integers(len(CODECS))]
            recorded = through_codec(recorded, self.rate, codec, rng)
        gain = np.float32(10 ** (rng.uniform(*recipe.level_db) / 20))
        return np.asarray(np.clip(recorded * gain, -1, 1), np.float32)

    def speaker(self, samples: Sound, rng: np.random.Generator) -> Sound:
        """Return (m,): the voice of somebody who speaks higher or lower, faster or slower."""
        count = max(1, round(len(samples) / rng.uniform(*self.recipe.speed)))
        if rng.random() < self.recipe.pitch:
            most = self.recipe.pitch_semitones
            samples = stretched(samples, 2 ** (rng.uniform(-most, most) / 12), self.rate)
        return resampled(samples, count)

    def behind(
        self, voice: Sound, rng: np.random.Generator, others: Sequence[Sound]
    ) -> Sound | np.float32:
        """Return (n,) what lies behind a voice, at its level; 0 where nothing does.

        Noise, babble and music add up. The level of the voice is that of its loud parts
        (``voiced_level``), what lies behind is measured over its whole length.
        """
        recipe, count = self.recipe, len(voice)
        layers = []
        if rng.random() < recipe.noise:
            layers.append(coloured_noise(count, rng.uniform(*NOISE_SLOPE), self.rate, rng))
        if rng.random() < recipe.babble and others:
            layers.append(babble(others, count, rng))
        if rng.random() < recipe.music:
            layers.append(music(count, self.rate, rng))
        if not layers:
            return np.float32(0)
        weights = 10 ** (rng.uniform(-LAYER_DB, 0, len(layers)) / 20)
        total = np.zeros(count, np.float32)
        for weight, layer in zip(weights, layers, strict=True):
            total += np.float32(weight) * unit(layer)
        snr_db = rng.uniform(*recipe.snr_db)
        return unit(total) * np.float32(voiced_level(voice, self.rate) * 10 ** (-snr_db / 20))

    def transfer(self, samples: Sound, rng: np.random.Generator) -> Sound:
        """Return (n,): the sound through a room, a microphone and a band, in one product."""
        recipe = self.recipe
        room, microphone = None, None
        if rng.random() < recipe.reverberation:
            room = room_response(
                rng.uniform(*recipe.decay_s), rng.uniform(*DIRECT_DB), self.rate, rng
            )
        hertz = np.linspace(0, self.rate / 2, GRID + 1)
        if rng.random() < recipe.equaliser:
            microphone = equaliser(hertz, recipe.equaliser_db, rng)
        if rng.random() < recipe.band:
            edges = band(
                hertz,
                rng.uniform(*recipe.low_cut_hz),
                rng.uniform(*recipe.high_cut_hz),
                int(rng.integers(*BAND_ORDERS, endpoint=True)),
            )
            microphone = edges if microphone is None else microphone * edges
        if room is None and microphone is None:
            return samples
        # The tail of the room, or of the filter on both sides, must not come round to the front.
        size = fast_length(len(samples) + max(len(room) if room is not None else 0, 2 * GRID))
        spectrum = np.fft.rfft(samples, size)
        if room is not None:
            spectrum *= np.fft.rfft(room, size)
        if microphone is not None:
            place = np.linspace(0, GRID, size // 2 + 1)
            spectrum *= np.interp(place, np.arange(GRID + 1), microphone).astype(np.float32)
        return np.asarray(np.fft.irfft(spectrum, size)[: len(samples)], np.float32)


def voiced_level(samples: Sound, rate: int) -> float:
    """Return the root mean square of the 20 ms blocks within 30 dB of the loudest: no pauses."""
    block = max(1, round(BLOCK_S * rate))
    whole = samples[: len(samples) // block * block]
    energy = np.square(whole if len(whole) else samples)
    energy = energy.reshape(-1, min(block, len(energy))).mean(axis=1)
    return float(np.sqrt(energy[energy >= energy.max() * 10 ** (PAUSE_DB / 10)].mean()))


def unit(samples: Sound) -> Sound:
    """Return the sound at a root mean square of 1; silence stays silent."""
    level = np.sqrt(np.square(samples).mean(dtype=np.float64))
    return samples / np.float32(level) if level else samples


def resampled(samples: Sound, count: int) -> Sound:
    """Return the same sound in so many samples, (count,): tempo and pitch change together."""
    if count == len(samples):
        return samples
    line = cv2.resize(samples[None], (count, 1), interpolation=cv2.INTER_CUBIC)
    return np.asarray(line[0], np.float32)


def stretched(samples: Sound, factor: float, rate: int) -> Sound:
    """Return the sound so many times as long, at the same pitch, (n * factor,).

    WSOLA (Verhelst & Roelands, ICASSP 1993): overlapping pieces, each taken within 10 ms of its
    place where it goes on best from the piece before.
    """
    count = max(1, round(len(samples) * factor))
    step = max(1, rate // COARSE_HZ)
    hop = max(2, round(HOP_S * rate / step))  # of the coarse sound, as all that follows
    reach = hop // 2
    pieces = -(-count // (hop * step)) + 1
    before = reach + hop
    places = np.minimum(np.arange(pieces) * hop / factor, len(samples) / step).astype(int) + reach
    padded = np.pad(samples, (before * step, (reach + 3 * hop + 1) * step))
    coarse = padded[: len(padded) // step * step].reshape(-1, step).mean(axis=1)
    energy = np.concatenate([[0.0], np.cumsum(np.square(coarse, dtype=np.float64))])
    window = np.hanning(2 * hop * step + 1)[:-1].astype(np.float32)  # two overlapping ones add to 1
    out = np.zeros((pieces + 1) * hop * step, np.float32)
    taken = places[0]
    for number, place in enumerate(places.tolist()):
        if number:
            first = max(0, place - reach)
            follows = coarse[taken + hop : taken + 2 * hop]
            score = np.correlate(coarse[first : place + reach + hop], follows)
            there = energy[first + hop : first + hop + len(score)] - energy[first:][: len(score)]
            taken = first + int(np.argmax(score / np.sqrt(there + 1e-9)))
        piece = padded[taken * step : (taken + 2 * hop) * step]
        out[number * hop * step : (number + 2) * hop * step] += piece * window
    return out[hop * step :][:count]


def coloured_noise(count: int, slope: float, rate: int, rng: np.random.Generator) -> Sound:
    """Return (count,) noise whose power falls with the frequency to the power of ``slope``."""
    size = fast_length(count)
    spectrum = rng.standard_normal((size // 2 + 1, 2), np.float32).view(np.complex64)[:, 0]
    hertz = np.arange(size // 2 + 1, dtype=np.float32) * np.float32(rate / size)
    spectrum *= np.maximum(hertz, np.float32(LOWEST_HZ)) ** np.float32(-slope / 2)
    spectrum[0] = 0
    return np.asarray(np.fft.irfft(spectrum, size)[:count], np.float32)


def babble(others: Sequence[Sound], count: int, rng: np.random.Generator) -> Sound:
    """Return (count,) three to eight of other voices (all, where there are fewer) at once."""
    speakers = min(int(rng.integers(*SPEAKERS, endpoint=True)), len(others))
    total = np.zeros(count, np.float32)
    for index in rng.choice(len(others), speakers, replace=False).tolist():
        voice = others[index]
        if len(voice):
            begin = int(rng.integers(len(voice)))
            said = np.resize(np.roll(voice, -begin), count)
            total += unit(said) * np.float32(10 ** (rng.uniform(-LAYER_DB, 0) / 20))
    return total


def music(count: int, rate: int, rng: np.random.Generator) -> Sound:
    """Return (count,) chords of harmonic tones that are struck and fade, over one another."""
    order = np.arange(1, HARMONICS + 1)[:, None]
    strength = order ** -rng.uniform(0.8, 2.0) * rng.uniform(0.3, 1, (HARMONICS, 1))
    angle = 2 * np.pi * np.arange(WAVE) / WAVE
    wave = (strength * np.sin(order * angle)).sum(axis=0).astype(np.float32)
    root = rng.uniform(*ROOT_HZ)
    length = max(1, round(rng.uniform(*CHORD_S) * rate))
    time_s = np.arange(length, dtype=np.float32) / np.float32(rate)
    attack_s, fade_s = rng.uniform(0.005, 0.08), rng.uniform(0.15, 1.5)
    envelope = np.minimum(time_s / np.float32(attack_s), 1) * np.exp(-time_s / np.float32(fade_s))
    total = np.zeros(-(-count // length) * length, np.float32)
    for begin in range(0, len(total), length):
        chord = CHORDS[rng.integers(len(CHORDS))]
        moved = int(rng.integers(-5, 7))
        for semitones in chord:
            hertz = root * 2 ** ((moved + semitones) / 12)
            place = (time_s * np.float32(hertz * WAVE)).astype(np.int32) % WAVE
            total[begin : begin + length] += wave[place]
        total[begin : begin + length] *= envelope * np.float32(rng.uniform(0.5, 1))
    late = int(rng.integers(length)) if len(total) > count else 0
    return total[min(late, len(total) - count) :][:count]


def room_response(decay_s: float, direct_db: float, rate: int, rng: np.random.Generator) -> Sound:
    """Return (samples,) what a room makes of a click; its energy is 1.

    Args:
        decay_s: in which the room's sound falls by 60 dB.
        direct_db: of the direct sound, which comes first, above the room's.
        rate: samples per second.
        rng: generator of the echoes.
    """
    length = max(2, round(decay_s * rate))
    fall = np.linspace(0, -DECAY_DB / 20 * np.log(10), length, dtype=np.float32)
    response = rng.standard_normal(length, np.float32) * np.exp(fall)
    response[0] = 0
    response = unit(response) * np.float32(1 / np.sqrt(length))  # energy 1
    response[0] = 10 ** (direct_db / 20)
    return response / np.float32(np.sqrt(1 + 10 ** (direct_db / 10)))


def equaliser(hertz: NDArray[np.float64], most_db: float, rng: np.random.Generator) -> Gains:
    """Return (frequency,) gains of a microphone: bands an octave apart, joined smoothly."""
    gain_db = rng.uniform(-most_db, most_db, BANDS)
    low, high = np.log2(EQUALISER_HZ)
    place = (np.log2(np.maximum(hertz, 1)) - low) / (high - low) * (BANDS - 1)
    place = np.clip(place, 0, BANDS - 1)
    left = np.minimum(place.astype(int), BANDS - 2)
    share = 0.5 - 0.5 * np.cos(np.pi * (place - left))
    smooth_db = gain_db[left] * (1 - share) + gain_db[left + 1] * share
    return np.asarray(10 ** (smooth_db / 20), np.float32)


def band(hertz: NDArray[np.float64], low_hz: float, high_hz: float, order: int) -> Gains:
    """Return (frequency,) gains of Butterworth's band, -3 dB at both ends."""
    low = (low_hz / np.maximum(hertz, 1)) ** (2 * order)
    high = (hertz / high_hz) ** (2 * order)
    return (1 / np.sqrt((1 + low) * (1 + high))).astype(np.float32)


def fast_length(count: int) -> int:
    """Return an even length, at most a quarter more, that the FFT divides well."""
    power = 1 << max(1, count.bit_length() - 4)
    return next(m * power for m in (8, 9, 10, 12, 15, 16) if m * power >= count)


def through_codec(samples: Sound, rate: int, codec: Codec, rng: np.random.Generator) -> Sound:
    """Return (n,) what a codec leaves of a sound, at a drawn bit rate, in its place in time."""
    count, peak = len(samples), max(1.0, float(np.abs(samples).max()))
    encoder: Any = av.CodecContext.create(codec.encoder, "w")
    encoder.sample_rate, encoder.layout = codec.rate_hz, "mono"
    encoder.format = encoder.codec.audio_formats[0]
    if codec.kbit_s is not None:
        encoder.bit_rate = 1000 * int(rng.integers(*codec.kbit_s, endpoint=True))
    encoder.options = codec.options
    encoder.open()
    decoder: Any = av.CodecContext.create(codec.decoder, "r")
    decoder.sample_rate, decoder.layout = codec.rate_hz, "mono"
    decoder.extradata = encoder.extradata
    into = av.AudioResampler(
        encoder.format, "mono", codec.rate_hz, frame_size=encoder.frame_size or 1024
    )
    out = av.AudioResampler("fltp", "mono", rate)
    sound = av.AudioFrame.from_ndarray(samples[None] / np.float32(peak), "fltp", "mono")
    sound.rate, sound.pts, sound.time_base = rate, 0, Fraction(1, rate)
    given = [*into.resample(sound), *into.resample(None)]
    packets = [packet for frame in [*given, None] for packet in encoder.encode(frame)]
    heard = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    pieces = [piece for frame in [*heard, None] for piece in out.resample(frame)]
    joined = np.concatenate([*(piece.to_ndarray()[0] for piece in pieces), np.zeros(count)])
    return joined[:count].astype(np.float32) * np.float32(peak)
