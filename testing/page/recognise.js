// Recognition as testing.predict does it: dataloader.audio's conditioning and testing.predict's windows. The
// numbers are in settings.json; trimming, level, length, MFCCs and the network are in model.onnx.
import * as ort from "./onnxruntime/ort.wasm.min.mjs";

ort.env.wasm.numThreads = 1; // several need headers that plain servers do not send

export class SoundError extends Error {}

const fetched = async (name) => {
  const answer = await fetch(name);
  if (!answer.ok) throw new Error(`${name}: ${answer.status} ${answer.statusText}`);
  return answer;
};

export async function loadRecogniser() {
  const settings = await (await fetched("settings.json")).json();
  const model = await (await fetched("model.onnx")).arrayBuffer();
  return new Recogniser(settings, await ort.InferenceSession.create(model));
}

class Recogniser {
  constructor(settings, session) {
    this.settings = settings;
    this.session = session;
  }

  // The bytes of a sound file → channels at the network's rate. The browser decodes and resamples.
  async decode(bytes) {
    const context = new OfflineAudioContext(1, 1, this.settings.sample_rate);
    const sound = await context.decodeAudioData(bytes).catch(() => {
      throw new SoundError("This browser finds no sound that it can decode in the file. Try WAV or MP3.");
    });
    return Array.from({ length: sound.numberOfChannels }, (_, index) => sound.getChannelData(index));
  }

  // Channels → { seconds, label, probabilities, timeline } as testing.predict's Recognition.
  async recognise(channels, progress = () => {}) {
    const { sample_rate, window, longest_utterance, shortest } = this.settings;
    const seconds = channels[0].length / sample_rate;
    if (seconds < shortest) throw new SoundError(`The recording is too short: less than ${shortest} s.`);
    const wave = this.mono(channels);
    if (this.isSilent(wave)) return { ...this.answer(0, seconds, null), seconds, timeline: [] };
    const timeline = wave.length > window ? await this.timeline(wave, progress) : [];
    if (wave.length <= longest_utterance * window) {
      return { ...this.answer(0, seconds, await this.look(wave)), seconds, timeline };
    }
    const spoken = timeline.map((part) => part.probabilities).filter(Boolean);
    const mean = spoken[0]?.map((_, index) => average(spoken.map((part) => part[index])));
    return { ...this.answer(0, seconds, mean ?? null), seconds, timeline };
  }

  async timeline(wave, progress) {
    const { sample_rate, window, overlap, near_silence, pause } = this.settings;
    const hop = Math.max(Math.floor(window / overlap), 1);
    const starts = [];
    for (let start = 0; start + window < wave.length; start += hop) starts.push(start);
    starts.push(wave.length - window); // the last one ends with the recording
    const found = [];
    for (const [index, start] of starts.entries()) {
      const part = wave.subarray(start, start + window);
      found.push({ level: this.loudest(part), probabilities: this.isSilent(part) ? null : await this.look(part) });
      progress((index + 1) / starts.length);
      await new Promise((done) => setTimeout(done)); // so that the page can be used meanwhile
    }
    const silence = Math.min(near_silence, pause * Math.max(...found.map((one) => one.level)));
    const middles = starts.map((start) => (start + window / 2) / sample_rate);
    const edges = [0, ...middles.slice(1).map((middle, i) => (middle + middles[i]) / 2), wave.length / sample_rate];
    return found.map(({ level, probabilities }, i) =>
      this.answer(edges[i], edges[i + 1], level < silence ? null : probabilities));
  }

  answer(start, end, probabilities) {
    if (!probabilities) return { start, end, label: "silence", probabilities };
    const most = Math.max(...probabilities);
    const first = this.settings.emotions[probabilities.indexOf(most)];
    return { start, end, first, label: most >= this.settings.sure ? first : "unsure", probabilities };
  }

  // A waveform as one utterance → calibrated probabilities, one an emotion.
  async look(wave) {
    let input = wave;
    if (wave.length < this.settings.least_samples) {
      input = new Float32Array(this.settings.least_samples);
      input.set(wave, (input.length - wave.length) >> 1);
    }
    const waveform = new ort.Tensor("float32", input, [1, input.length]);
    const logits = (await this.session.run({ waveform })).logits.data;
    const shares = Array.from(logits, (one) => Math.exp((one - Math.max(...logits)) / this.settings.temperature));
    const sum = shares.reduce((a, b) => a + b);
    return shares.map((share) => share / sum);
  }

  // The mean of the channels that count, without a constant offset, as dataloader.audio's mixer.
  mono(channels) {
    const { block_seconds, sample_rate, rounding, loudest } = this.settings;
    const size = Math.round(block_seconds * sample_rate);
    const wave = new Float32Array(channels[0].length);
    let kept = [0];
    let offset = 0;
    for (let start = 0; start < wave.length; start += size) {
      const block = channels.map((channel) => channel.subarray(start, start + size));
      for (const channel of block) {
        const peak = channel.reduce((most, value) => Math.max(most, Math.abs(value)), 0); // NaN stays NaN
        if (!Number.isFinite(peak)) throw new SoundError("The recording holds samples that are not finite numbers.");
        if (peak > loudest) throw new SoundError(`The recording holds samples of ${peak}, where 1 is full scale.`);
      }
      const part = wave.subarray(start, start + size);
      const choose = start === 0 || part.length >= size / 2;
      if (choose) kept = this.chosen(block);
      for (let i = 0; i < part.length; i++) {
        for (const index of kept) part[i] += block[index][i] / kept.length;
      }
      if (choose) offset = average(part);
      const [low, high] = part.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
      for (let i = 0; i < part.length; i++) part[i] = high - low < rounding ? 0 : part[i] - offset;
    }
    return wave;
  }

  // Which channels are kept: not those without sound, with noise beside speech, or of opposite polarity.
  chosen(block) {
    const { steady, no_sound, opposite } = this.settings;
    const centred = block.map((channel) => { const mean = average(channel); return channel.map((v) => v - mean); });
    const levels = centred.map(deviation);
    const swings = centred.map((channel) => this.swing(channel));
    const noise = swings.map((swing) => Math.max(...swings) > steady ** 2 && swing < steady);
    const order = levels.map((_, i) => i).sort((a, b) => noise[a] - noise[b] || levels[b] - levels[a]);
    const main = centred[order[0]];
    return levels.map((_, i) => i).filter((i) => {
      const product = average(main.map((v, at) => v * centred[i][at]));
      return !(levels[i] < no_sound * levels[order[0]] || noise[i] || product < opposite * levels[i] * levels[order[0]]);
    });
  }

  frames(wave) {
    const { level_frame } = this.settings;
    const count = Math.floor(wave.length / level_frame);
    return Array.from({ length: count }, (_, i) => deviation(wave.subarray(i * level_frame, (i + 1) * level_frame)));
  }

  loudest(wave) {
    const rest = wave.subarray(wave.length - (wave.length % this.settings.level_frame));
    return Math.max(0, ...this.frames(wave), rest.length ? deviation(rest) : 0);
  }

  swing(wave) {
    const levels = this.frames(wave).sort((a, b) => a - b);
    if (levels.length < 2) return 1;
    const quantile = (share) => {
      const at = share * (levels.length - 1);
      const below = Math.floor(at);
      return levels[below] + (at - below) * ((levels[below + 1] ?? levels[below]) - levels[below]);
    };
    return quantile(0.9) / Math.max(quantile(0.1), 1e-7);
  }

  isSilent(wave) {
    return this.loudest(wave) < this.settings.near_silence && this.swing(wave) < this.settings.steady;
  }
}

const average = (values) => values.reduce((a, b) => a + b, 0) / values.length;

function deviation(values) {
  const mean = average(values);
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
}
