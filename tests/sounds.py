"""Sounds made on the spot for tests of the tone measurement, and ways to read its reports."""

import math

import numpy as np

RATE = 16000


def white(seconds, amplitude=0.05, seed=0, rate=RATE):
    """Draw white noise of this RMS."""
    return amplitude * np.random.default_rng(seed).standard_normal(round(seconds * rate))


def sine(frequency_hz, amplitude, samples, phase=0.3, rate=RATE):
    """Draw a sine that has ``phase`` at sample 0."""
    return amplitude * np.sin(2 * np.pi * frequency_hz / rate * np.arange(samples) + phase)


def comb(period, amplitude, samples, rng):
    """Draw a locked sine at every harmonic below Nyquist, each of its own random phase."""
    n = np.arange(period)
    one = sum(np.cos(2 * np.pi * k * n / period + rng.uniform(0, 2 * np.pi)) for k in range(1, (period + 1) // 2))
    return np.resize(amplitude * one, samples)


def locked(period, harmonics, samples, amplitude=0.003, seed=0):
    """Draw sines at harmonics of a period, exactly, each of its own phase."""
    rng, n = np.random.default_rng(seed), np.arange(period)
    one = sum(np.cos(2 * np.pi * k * n / period + rng.uniform(0, 2 * np.pi)) for k in harmonics)
    return np.resize(amplitude * one, samples)


def dbfs(amplitude):
    return 20 * math.log10(amplitude)


def line_at(report, frequency_hz):
    (line,) = [line for line in report.lines if line.frequency_hz == frequency_hz]
    return line


def found(report):
    return [line.frequency_hz for line in report.lines if line.detected]
