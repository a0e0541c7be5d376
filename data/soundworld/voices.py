"""One dry sound per SoundWorld class.

Each voice takes (thing, rng) and returns a Dry: a mono float64 array of shape (NUM_SAMPLES,) whose events peak near 1,
and the onsets of these events with the individual that each belongs to. Size sets pitch and resonances, count the
number of events or sources, tempo their rate, timbre the brightness and roughness, and rng (from the take) the times,
phases and small variations.
"""

import numpy as np

from soundworld.blocks import (
    Dry,
    between,
    clock,
    curve,
    cycles,
    edges,
    formants,
    harmonics,
    mix,
    modes,
    noise,
    onsets,
    placed,
    samples,
    shaped,
    slope,
    strike,
    tract,
    unit,
    vowels,
    wander,
)
from soundworld.scene import NUM_SAMPLES, SAMPLE_RATE, Thing, pitch

HERD = (1.0, 0.93, 1.07)  # relative pitch of the first, second and third of a kind


def _herd(thing: Thing, rng: np.random.Generator) -> np.ndarray:
    """Fundamental (Hz) of each of `count` individuals, shape (count,)."""
    return pitch(thing) * np.array(HERD[: thing.count]) * rng.uniform(0.99, 1.01, thing.count)


def bird(thing, rng):
    """Syrinx: an almost pure tone whose frequency chirps, trills or slides; one phrase per bird."""
    duration = between(0.85, 0.55, thing.tempo)
    rate = between(4.5, 11, thing.tempo)
    events, syllables = [], []
    for k, (start, f0) in enumerate(zip(onsets(rng, thing.count, 1.05 * duration, 0.04), _herd(thing, rng))):
        n = samples(duration)
        t = clock(n) * rate * rng.uniform(0.85, 1.15)
        local, syllable = t % 1, t.astype(int)
        arch, trill = np.abs(2 * local - 1) - 0.5, 0.35 * np.sin(8 * np.pi * local)
        slide = (0.5 - local, local - 0.5, arch, trill)[rng.integers(4)]
        octaves = 0.5 * slide + rng.choice([-0.12, 0, 0.12], syllable[-1] + 1)[syllable]
        octaves += 0.05 * thing.timbre * np.sin(2 * np.pi * 70 * clock(n))
        gate = np.clip(np.sin(np.pi * np.minimum(local / 0.75, 1)), 0, 1) ** 0.7
        tone = harmonics(np.minimum(f0 * 2**octaves, 7000), np.array([1, 0.05 + 0.25 * thing.timbre]))
        events.append((start, unit(tone * gate * edges(n, 0.01, 0.03))))
        syllables += [(start + first / SAMPLE_RATE, k) for first in _rising(local < 0.7) if first < n - samples(0.03)]
    return Dry(mix(events), syllables)


def _rising(gate: np.ndarray) -> np.ndarray:
    """Samples at which a gate (n,) of booleans opens."""
    return np.flatnonzero(np.diff(gate.astype(np.int8), prepend=np.int8(0)) == 1)


def cat(thing, rng):
    """Meow: an arched harmonic voice while the mouth opens and closes, /m-i-a-o-u/."""
    duration = between(0.95, 0.6, thing.tempo)
    mouth = [[(350, 1), (2300, 0.25)], [(550, 1), (2100, 0.8), (3200, 0.3)],
             [(950, 1), (1700, 0.7), (3000, 0.35)], [(700, 1), (1100, 0.6), (2900, 0.1)], [(450, 1), (850, 0.3)]]
    events = []
    for k, (start, f0) in enumerate(zip(onsets(rng, thing.count, 0.98 * duration), _herd(thing, rng))):
        n = samples(duration)
        f = f0 * curve(n, 0.88, 0.98, 1.02, 1.01, 1, 0.98, 0.84) * wander(rng, n, 9, 0.006)
        source = harmonics(f, slope(1.5 - 0.8 * thing.timbre)) + (0.02 + 0.06 * thing.timbre) * noise(rng, n)
        call = vowels(source, mouth, tract(thing), 1.5) * curve(n, 0.3, 0.8, 1, 1, 0.7, 0.4)
        events.append((start, unit(call * edges(n, 0.05, 0.12)), k))
    return placed(events)


def cow(thing, rng):
    """Moo: a long low voice, closed lips first, then a round open mouth."""
    duration = between(1.7, 1.05, thing.tempo)
    mouth = [[(230, 1), (700, 0.08)], [(330, 1), (720, 0.4), (2200, 0.05)],
             [(480, 1), (850, 0.7), (2300, 0.15)], [(380, 1), (760, 0.4), (2200, 0.05)]]
    events = []
    for k, (start, f0) in enumerate(zip(onsets(rng, thing.count, min(0.75 * duration, 0.85)), _herd(thing, rng))):
        n = samples(duration)
        f = f0 * curve(n, 0.9, 1, 1.02, 1.02, 1.01, 1, 0.98, 0.87) * wander(rng, n, 12, 0.004 + 0.008 * thing.timbre)
        source = harmonics(f, slope(1.2 - 0.6 * thing.timbre)) + 0.05 * thing.timbre * noise(rng, n)
        call = vowels(source, mouth, tract(thing), 1.3) * curve(n, 0.5, 0.9, 1, 1, 0.8)
        events.append((start, 0.75 * unit(call * edges(n, 0.12, 0.2)), k))
    return placed(events)


def cricket(thing, rng):
    """Stridulation: the wing file makes chirps of 3 or 4 short pulses of one pure carrier, again and again."""
    chirps = between(2.1, 3.3, thing.tempo)
    pulse_rate = between(26, 46, thing.tempo)
    out, starts = np.zeros(NUM_SAMPLES), []
    t = clock(NUM_SAMPLES)
    for k, f0 in enumerate(_herd(thing, rng)):
        since = (t - rng.uniform(0.02, 0.1) - k / (chirps * thing.count)) % (1 / (chirps * rng.uniform(0.97, 1.03)))
        pulse = since * pulse_rate
        inside = (pulse < rng.integers(3, 5)) & (t > 0.02)
        gate = inside * np.sin(np.pi * np.minimum(pulse % 1 / 0.7, 1)) * np.minimum(0.5 + 0.25 * pulse, 1)
        rough = 1 + 0.5 * thing.timbre * np.sin(2 * np.pi * 190 * t)
        carrier = harmonics(np.full(NUM_SAMPLES, f0), np.array([1, 0.03 + 0.15 * thing.timbre]))
        out += unit(carrier * gate * rough) * (0.9, 0.75, 0.65)[k]
        starts += [(first / SAMPLE_RATE, k) for first in _rising(inside)]
    return Dry(out, starts)


def _bark(thing, rng, f0):
    n = samples(between(0.17, 0.24, thing.size) * rng.uniform(0.9, 1.1))
    f = f0 * curve(n, 0.9, 1.25, 1.0, 0.75, 0.55)
    rough = 1 + 0.6 * thing.timbre * np.sin(2 * np.pi * cycles(0.5 * f))
    breath = noise(rng, n) * between(0.15, 0.5, thing.timbre)
    mouth = [[(500, 1), (1000, 0.4)], [(800, 1), (1300, 0.8), (2600, 0.3)], [(450, 1), (900, 0.4), (2400, 0.08)]]
    call = vowels(harmonics(f, slope(0.8)) * rough + breath, mouth, tract(thing), 2.5)
    return unit(call * strike(n, 0.012, 0.07) * edges(n, 0.004, 0.05))


def dog(thing, rng):
    """Bark: a hard glottal burst, half voice half noise, whose pitch soon falls; two barks per dog."""
    gap = between(0.42, 0.29, thing.tempo)
    individuals = np.repeat(_herd(thing, rng), 2)
    times = onsets(rng, len(individuals), gap)
    return placed((start, _bark(thing, rng, f0), k // 2) for k, (start, f0) in enumerate(zip(times, individuals)))


def _quack(thing, rng, f0):
    n = samples(between(0.26, 0.15, thing.tempo) * rng.uniform(0.9, 1.1))
    f = f0 * curve(n, 0.93, 1.05, 1.03, 1.0, 0.92) * wander(rng, n, 60, 0.01 + 0.03 * thing.timbre)
    source = harmonics(f, slope(0.15))
    scale = tract(thing)
    centres, gains = scale * np.array([1250, 2100, 3300]), (1, 0.5 + 0.4 * thing.timbre, 0.3)
    call = formants(source, centres, (160, 260, 500), gains, 0.01)
    return unit(shaped(call, 700 * scale, 6000) * curve(n, 0.6, 1, 0.9, 0.8, 0.5) * edges(n, 0.015, 0.04))


def duck(thing, rng):
    """Quack: a flat buzzing reed-like source in a narrow nasal resonance at 1 to 2 kHz; two quacks per duck."""
    gap = between(0.40, 0.25, thing.tempo)
    individuals = np.repeat(_herd(thing, rng), 2)
    times = onsets(rng, len(individuals), gap)
    return placed((start, _quack(thing, rng, f0), k // 2) for k, (start, f0) in enumerate(zip(times, individuals)))


def _croak(thing, rng, f0, duration):
    n = samples(duration)
    rate = between(34, 62, thing.tempo) * curve(n, 0.85, 1.1)
    phase = cycles(rate) % 1
    burst = np.exp(-phase * between(5, 2.5, thing.timbre)) * np.minimum(phase / 0.06, 1)
    bent = f0 * curve(n, 0.9, 1, 1.08)
    tone = harmonics(bent, np.array([1, 0.45, 0.2 + 0.3 * thing.timbre, 0.3 * thing.timbre, 0.15]))
    rasp = formants(noise(rng, n), (2.6 * f0,), (0.8 * f0,), (1,), 0)
    return unit((tone + between(0.15, 0.8, thing.timbre) * rasp) * burst * edges(n, 0.02, 0.03))


def frog(thing, rng):
    """Croak: slow glottal pulses ring a vocal sac; a short low "rib", a longer higher "bit" per frog."""
    length = between(1.25, 0.8, thing.tempo)
    events = []
    for k, (start, f0) in enumerate(zip(onsets(rng, thing.count, 0.78, 0.04), _herd(thing, rng))):
        events.append((start, 0.8 * _croak(thing, rng, 0.85 * f0, 0.17 * length), k))
        events.append((start + 0.24 * length, _croak(thing, rng, 1.1 * f0, 0.28 * length), k))
    return placed(events)


def _hoof(thing, rng, f0):
    n = samples(0.16)
    ratios = np.array([1, 1.58, 2.36, 3.4, 4.9])
    levels = np.array([1, 0.7, 0.5, 0.35, 0.25]) ** between(1.6, 0.5, thing.timbre) * rng.uniform(0.7, 1.3, 5)
    knock = modes(n, f0 * ratios, 0.022 / ratios**0.6, levels)
    ground = noise(rng, n) * strike(n, 0.001, 0.006) * between(0.1, 0.5, thing.timbre)
    return unit(knock + ground) * rng.uniform(0.75, 1)


def horse(thing, rng):
    """Hooves: hollow woody knocks, clip above clop, in a walk's even or a gallop's three-beat rhythm."""
    gallop = rng.random() < 0.5
    beats = np.array([0, 0.22, 0.44]) if gallop else np.array([0, 0.47])
    stride = between(0.74, 0.5, thing.tempo)
    events = []
    for k, f0 in enumerate(pitch(thing) * np.array([1, 0.85, 1.18])[: thing.count]):
        shift = rng.uniform(0.02, 0.12) + stride * k * (0.17, 0.13)[int(gallop)]
        times = (np.arange(6)[:, None] + beats).ravel() * stride + shift
        tones = np.tile((1, 0.8, 1.12)[: len(beats)], 6)
        kept = times < 2.5
        events += [(time + rng.uniform(0, 0.015), _hoof(thing, rng, f0 * tone) * (0.9, 0.75, 0.65)[k], k)
                   for time, tone in zip(times[kept], tones[kept])]
    return placed(events)


def sheep(thing, rng):
    """Bleat: a nasal voice that shakes 7 to 11 times a second in level and pitch."""
    duration = between(1.15, 0.7, thing.tempo)
    mouth = [[(400, 0.7), (1500, 0.5), (2600, 0.3)], [(750, 1), (1650, 1), (2700, 0.7), (3700, 0.3)],
             [(700, 1), (1500, 0.8), (2600, 0.5)]]
    events = []
    for k, (start, f0) in enumerate(zip(onsets(rng, thing.count, 0.8 * duration), _herd(thing, rng))):
        n = samples(duration)
        turn = 2 * np.pi * cycles(between(7, 11, thing.tempo) * wander(rng, n, 6, 0.06))
        shake = np.sin(turn)
        f = f0 * (1 + 0.035 * np.cos(turn)) * curve(n, 0.97, 1, 1, 1, 0.96)
        source = harmonics(f, slope(0.9 - 0.6 * thing.timbre)) + (0.03 + 0.1 * thing.timbre) * noise(rng, n)
        call = vowels(source, mouth, tract(thing), 1.6) * (0.55 + 0.45 * shake) * curve(n, 0.7, 1, 1, 0.8, 0.5)
        events.append((start, unit(call * edges(n, 0.04, 0.1)), k))
    return placed(events)


def _engine(thing, rng, firing):
    orders = slope(0.5, 120) * rng.uniform(0.5, 1, 120)
    orders[::2] *= 0.15 + 0.35 * thing.timbre  # half orders: unequal cylinders, a rougher engine
    pipes, widths = tract(thing) * np.array([110, 280, 620, 1500]), (80, 150, 300, 700)
    return formants(harmonics(firing / 2, orders), pipes, widths, (1, 0.9, 0.5, 0.15 + 0.25 * thing.timbre), 0.03)


def car(thing, rng):
    """Engine: firing pulses with half orders through exhaust and body, road noise; a swell for each car that passes."""
    t = clock(NUM_SAMPLES)
    out = np.zeros(NUM_SAMPLES)
    for k in range(thing.count):
        middle = (k + 0.5) * 2.56 / thing.count + rng.uniform(-0.1, 0.1)
        away = (t - middle) / between(0.8, 0.5, thing.tempo) * thing.count**0.5
        approach = np.tanh(2 * away)  # -1 coming, 1 going: the Doppler shift and the revs turn with it
        revs = between(1.1, 1.7, thing.tempo) ** (0.6 * np.tanh(t - middle)) * (1 - 0.05 * approach)
        firing = pitch(thing) * HERD[k] * revs
        engine = _engine(thing, rng, firing * wander(rng, NUM_SAMPLES, 14, 0.012))
        road = shaped(noise(rng, NUM_SAMPLES), 300, 1300 * tract(thing), 1)
        sound = engine / engine.std() + (0.1 + 0.2 * thing.timbre) * road / road.std()
        out += (0.9, 0.8, 0.8)[k] * unit(sound * (0.25 / thing.count + np.exp(-(away**2))))
    return Dry(out * edges(NUM_SAMPLES, 0.05, 0.05))


def police(thing, rng):
    """Electronic siren: a horn-like tone swept an octave around the centre, slow wail to quick yelp."""
    t = clock(NUM_SAMPLES)
    out, turns = np.zeros(NUM_SAMPLES), []
    for k in range(thing.count):
        rate = between(0.8, 3.6, thing.tempo) * (1, 1.45, 0.7)[k]
        phase = rng.random()
        sweep = np.sin(2 * np.pi * (rate * t + phase))
        f = pitch(thing) * (1, 0.97, 1.03)[k] * 2 ** (0.42 * np.arcsin(0.97 * sweep) / (np.pi / 2))
        horn = harmonics(f, slope(1.8 - thing.timbre))
        horn = formants(horn, (900, 2000, 3200), (700, 900, 900), (1, 0.7, 0.2 + 0.5 * thing.timbre), 0.3)
        out += unit(horn)
        turns += [(time, k) for time in (np.arange(12) + 0.75 - phase) / rate if time >= 0]
    return Dry(0.85 * out / thing.count**0.7 * edges(NUM_SAMPLES, 0.05, 0.01), turns)


def _chuff(thing, rng, length):
    n = samples(length)
    steam = shaped(noise(rng, n), between(500, 180, thing.size), between(1200, 3000, thing.timbre), 1.5)
    return unit(steam * strike(n, 0.015, 0.3 * length) * edges(n, 0.005, 0.02))


def _whistle(thing, rng, duration):
    n = samples(duration)
    f = pitch(thing) * curve(n, 0.95, 1, 1, 1, 1, 0.97) * wander(rng, n, 6, 0.002)
    chord = sum(harmonics(f * ratio, slope(1.9 - 0.7 * thing.timbre, 8)) for ratio in (1, 1.19, 1.5))
    steam = shaped(noise(rng, n), 1000, 5000, 1)
    return unit((chord + (0.15 + 0.3 * thing.timbre) * steam) * edges(n, 0.05, 0.08))


def train(thing, rng):
    """Steam engine: chuffs, the first of every four stressed, clacking rail joints, one chord whistle per train."""
    gap = between(0.34, 0.15, thing.tempo)
    times = onsets(rng, int(2.4 / gap), gap, 0.02)
    events = [(time, _chuff(thing, rng, 0.95 * gap) * (0.5 if k % 4 else 0.75), k % thing.count)
              for k, time in enumerate(times)]
    rails = np.array([430, 710, 1180, 2100]) * rng.uniform(0.9, 1.1)
    for joint in np.arange(0.3, 2.4, 4 * gap) + rng.uniform(0, gap):
        clack = 0.4 * unit(modes(samples(0.1), rails, np.full(4, 0.015), np.ones(4)))
        events += [(joint, clack, 0), (joint + 0.09, clack, 0)]
    toot = between(0.6, 0.4, thing.tempo)
    events += [(start + 0.08, 0.6 * _whistle(thing, rng, toot), k)
               for k, start in enumerate(onsets(rng, thing.count, toot + 0.13))]
    return placed(events)


def bells(thing, rng):
    """Church bell: hum, prime, tierce, quint, nominal and above, each mode with its own decay; a stroke per bell."""
    ratios = np.array([0.5, 1, 1.19, 1.5, 2, 2.52, 3.01, 4.1, 5.3])
    levels = np.array([0.15, 1, 0.4, 0.2, 0.7, 0.3, 0.35, 0.3, 0.2])  # a loud prime, so that it is the pitch heard
    levels *= between(0.55, 1.5, thing.timbre) ** np.log2(ratios)
    decays = between(0.9, 1.6, thing.size) * np.array([1.6, 1, 0.7, 0.6, 0.5, 0.3, 0.3, 0.2, 0.14])
    events = []
    for k, start in enumerate(onsets(rng, thing.count, between(0.85, 0.45, thing.tempo), 0.04)):
        f0 = pitch(thing) * (1, 0.891, 1.122)[k]
        n = NUM_SAMPLES - samples(start)
        pairs = np.concatenate([ratios, ratios * (1 + 0.0025 * rng.uniform(0.3, 1, 9))])  # a doublet beats
        ring = modes(n, f0 * pairs, np.tile(decays, 2), np.concatenate([levels, 0.3 * levels]))
        clapper = noise(rng, n) * strike(n, 0.001, 0.008) * (0.1 + 0.3 * thing.timbre)
        events.append((start, 0.85 * unit((ring + clapper) * np.minimum(clock(n) / 0.002, 1)), k))
    return placed(events)


def _kick(thing, rng):
    n = samples(between(0.22, 0.4, thing.size))
    f = pitch(thing) * (1 + 2.2 * np.exp(-clock(n) / 0.018))
    skin = np.sin(2 * np.pi * cycles(f)) * strike(n, 0.002, 0.28 * n / SAMPLE_RATE)
    beater = shaped(noise(rng, n), 1500, 5000) * strike(n, 0.0005, 0.005) * (0.1 + 0.4 * thing.timbre)
    return unit((skin + beater) * edges(n, 0.001, 0.03))


def _snare(thing, rng):
    n = samples(0.22)
    shell = modes(n, between(300, 150, thing.size) * np.array([1, 1.59, 2.14]), 0.05, np.array([1, 0.6, 0.4]))
    wires = shaped(noise(rng, n), 1200, between(3500, 7500, thing.timbre)) * strike(n, 0.001, 0.06)
    return unit((0.5 * unit(shell) + 0.9 * unit(wires)) * edges(n, 0.001, 0.03))


def _hat(thing, rng):
    n = samples(0.09)
    return 0.4 * unit(shaped(noise(rng, n), between(4000, 6500, thing.timbre), 8000, 3) * strike(n, 0.0005, 0.02))


def drums(thing, rng):
    """Drum kit: the bass drum alone, then with a snare, then with a hi-hat too, in a two-beat pattern."""
    step = between(0.2, 0.105, thing.tempo)  # an eighth note
    first = rng.uniform(0.02, 0.1)
    patterns = [("x..xx...", "x..x....", "x.x.x..x")[rng.integers(3)], "..x...x.", "xxxxxxxx"]
    events = []
    for kit, (pattern, make) in enumerate(zip(patterns[: thing.count], (_kick, _snare, _hat))):
        steps = [k for k in range(int(2.45 / step)) if pattern[k % 8] == "x"]
        events += [(first + k * step, make(thing, rng) * rng.uniform(0.7, 0.85), kit) for k in steps]
    return placed(events)


def _melody(thing, rng):
    """Notes as (start s, duration s, Hz): two per count around the tonic, the last one held."""
    beat = between(0.42, 0.25, thing.tempo)
    number = 2 * thing.count
    steps = np.where(np.arange(number) % 2, rng.choice([0, 0, 2, -2], number), 0)
    steps[-1] = 0
    starts = onsets(rng, number, beat, 0.03)
    lengths = np.where(np.arange(number) == number - 1, 2.0, 1.0) * beat
    return list(zip(starts, lengths, pitch(thing) * 2 ** (steps / 12)))


def flute(thing, rng):
    """Air jet: breath noise at the bore's resonances, a few harmonics and a vibrato that comes in late."""
    events = []
    for k, (start, length, f0) in enumerate(_melody(thing, rng)):
        n = samples(length * 0.92)
        t = clock(n)
        vibrato = np.sin(2 * np.pi * 5.2 * t + rng.uniform(0, 6)) * np.minimum(t / 0.3, 1)
        levels = np.array([1, 0.15, 0.08, 0.03, 0.01]) ** between(1.3, 0.6, thing.timbre)
        tone = harmonics(f0 * (1 + 0.006 * vibrato), levels)
        breath = formants(noise(rng, n), f0 * np.arange(1, 5), np.full(4, 180), (0.6, 1, 0.8, 0.5), 0.12)
        chiff = 1 + 3 * np.exp(-t / 0.03)
        breath *= between(0.06, 0.3, thing.timbre) / breath.std() * 0.5 * chiff
        events.append((start, 0.9 * unit((tone * (1 + 0.15 * vibrato) + breath) * edges(n, 0.05, 0.06)), k // 2))
    return placed(events)


def _string(thing, rng, f0, n):
    k = np.arange(1, min(int(7500 / f0), 45) + 1)
    pluck = np.abs(np.sin(np.pi * k * between(0.28, 0.09, thing.timbre))) / k ** between(1.5, 0.8, thing.timbre)
    decays = 0.9 / (1 + (k * f0 / 900) ** 1.3) + 0.015  # a string loses its highs first, as in Karplus-Strong
    return modes(n, k * f0 * np.sqrt(1 + 4e-5 * k**2), decays, (pluck + 0.02 / k) * rng.uniform(0.6, 1.4, len(k)))


def guitar(thing, rng):
    """Plucked strings on a wooden box: `count` strings, strummed once more than that."""
    events = []
    for number, start in enumerate(onsets(rng, thing.count + 1, between(0.72, 0.42, thing.tempo), 0.04)):
        n = min(NUM_SAMPLES - samples(start), samples(1.6))
        lag = between(0.035, 0.018, thing.tempo)
        strum = [(k * lag, _string(thing, rng, pitch(thing) * ratio, n))
                 for k, ratio in enumerate((1, 2, 2.997)[: thing.count])]  # in tune with the tonic
        chord = mix(strum)[:n]
        tap = formants(noise(rng, n) * strike(n, 0.001, 0.006), (110, 210, 430), (30, 40, 60), (1, 1, 0.6), 0)
        box = 0.7 * chord + formants(chord, (110, 215, 430), (40, 50, 80), (0.8, 0.7, 0.5), 0)
        events.append((start, 0.8 * unit((unit(box) + 0.2 * unit(tap)) * edges(n, 0.001, 0.2)), number % thing.count))
    return placed(events)


def piano(thing, rng):
    """Hammered stiff strings: slightly stretched partials, a quick then a slow decay, damped when the key is up."""
    events = []
    for number, (start, length, f0) in enumerate(_melody(thing, rng)):
        n = samples(length + 0.12)
        k = np.arange(1, min(int(7000 / f0), 24) + 1)
        dull = (f0 / 262) ** 0.4 * between(0.75, 0.28, thing.timbre)
        levels = np.exp(-(k - 1) * dull) * rng.uniform(0.8, 1.2, len(k))
        stretched = k * f0 * np.sqrt(1 + 3e-4 * k**2)
        quick, slow = 0.22 / k**0.4, 1.3 / k**0.5
        tone = modes(n, np.concatenate([stretched, stretched * 1.0007]), np.concatenate([quick, slow]),
                     np.concatenate([levels, 0.45 * levels]))
        hammer = shaped(noise(rng, n), 80, 500 + 900 * thing.timbre) * strike(n, 0.001, 0.012)
        events.append((start, 0.85 * unit((unit(tone) + 0.15 * unit(hammer)) * edges(n, 0.003, 0.1)), number // 2))
    return placed(events)


def trumpet(thing, rng):
    """Brass: the louder the brighter, a rising attack, tongued notes as in a fanfare."""
    spread = np.exp(0.15j * np.arange(1, 41) ** 2)  # phases that keep the buzz from piling up in one high peak
    events = []
    for k, (start, length, f0) in enumerate(_melody(thing, rng)):
        n = samples(length * 0.95)
        t = clock(n)
        loud = curve(n, 1, 0.8, 0.85, 0.9, 0.8) * edges(n, 0.05, 0.06)
        f = f0 * (1 - 0.03 * np.exp(-t / 0.02)) * (1 + 0.004 * np.sin(2 * np.pi * 5.5 * t) * np.minimum(t / 0.25, 1))
        dark, bright = (harmonics(f, slope(tilt, 40) * spread) for tilt in (1.8, 0.45 - 0.3 * thing.timbre))
        lips = dark * (1 - loud) + bright * loud**2 * (0.5 + 0.5 * thing.timbre)
        bell = formants(lips, (1200, 2300), (900, 1600), (1, 0.6), 0.12)
        events.append((start, 0.85 * unit(bell * loud), k // 2))
    return placed(events)


def rain(thing, rng):
    """Rain: drops that each ring a tiny air bubble, over the hiss of all those far away."""
    number = (110, 280, 700)[thing.count - 1]
    ring = samples(0.02)
    t = clock(ring)
    f = np.minimum(pitch(thing) * 2 ** rng.normal(0, 0.35, number), 7000)[:, None]
    decay = (between(0.0022, 0.0045, thing.size) * rng.uniform(0.6, 1.4, number))[:, None]
    level = np.minimum(rng.pareto(2.2, number) + 0.15, 2.0)[:, None]
    drops = level * np.exp(-t / decay) * np.sin(2 * np.pi * f * t)
    where = rng.integers(0, NUM_SAMPLES - ring, number)[:, None] + np.arange(ring)
    patter = np.bincount(where.ravel(), drops.ravel(), NUM_SAMPLES)
    gust = wander(rng, NUM_SAMPLES, between(0.8, 4, thing.tempo), 0.2)
    hiss = shaped(noise(rng, NUM_SAMPLES), 0.7 * pitch(thing), between(4000, 7500, thing.timbre), 1.5)
    return Dry(0.3 * patter + (0.02 + 0.02 * thing.count) * between(0.7, 1.4, thing.timbre) * hiss / hiss.std() * gust)


def waterfall(thing, rng):
    """Falling water: a steady roar over deep turbulence; each further stream roars in a band of its own above."""
    out = np.zeros(NUM_SAMPLES)
    for centre in pitch(thing) * np.array([1, 2.6, 6.5])[: thing.count]:
        roar = shaped(noise(rng, NUM_SAMPLES), 0.7 * centre, centre * between(1.2, 2.2, thing.timbre), 2)
        out += roar / roar.std() * wander(rng, NUM_SAMPLES, between(4, 14, thing.tempo), 0.12)
    rumble = shaped(noise(rng, NUM_SAMPLES), 40, 0.6 * pitch(thing))
    rumble *= wander(rng, NUM_SAMPLES, between(5, 16, thing.tempo), 0.4) / rumble.std()
    spray = shaped(noise(rng, NUM_SAMPLES), 200, between(1500, 5000, thing.timbre), 1)
    return Dry(0.13 * (out + 0.7 * rumble + 0.3 * spray / spray.std()) * edges(NUM_SAMPLES, 0.04, 0.01))


VOICES = {voice.__name__: voice for voice in (
    bird, cat, cow, cricket, dog, duck, frog, horse, sheep, car, police, train, bells, drums, flute, guitar, piano,
    trumpet, rain, waterfall,
)}
