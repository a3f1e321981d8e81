import { loadRecogniser, SoundError } from "./recognise.js";

const MOST_SECONDS = 600;
const MOST_BYTES = 200 * 2 ** 20;
const EVERY = 500; // milliseconds between two answers while the microphone is on
const COLOURS = ["#2f8f4e", "#f5c518", "#c9a27e", "#9b5fc0", "#c22727", "#56c5ea", "#173f8a", "#f48fb1", "#b8d96a"];

const at = (id) => document.getElementById(id);
const made = (tag, name, text = "") => Object.assign(document.createElement(tag), { className: name, textContent: text });
let recogniser;
let recording = null; // { stream, context, parts, timer } while the microphone is on

const say = (text, problem = false) => {
  at("said").textContent = text;
  at("said").classList.toggle("problem", problem);
};
const clock = (seconds) => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, "0")}`;

function show(answer) {
  const { emotions, words } = recogniser.settings;
  at("answer").hidden = false;
  at("label").textContent = words[answer.label];
  at("label").dataset.label = answer.label;
  const sure = answer.probabilities && Math.round(100 * Math.max(...answer.probabilities));
  at("doubt").textContent = !answer.probabilities ? "There is no speech in it."
    : answer.label === "unsure" ? `No emotion is probable enough. The most probable is ${words[answer.first]}, ${sure} %.`
    : `${sure} % probable.`;
  const share = (index) => answer.probabilities?.[index] ?? 0;
  at("bars").replaceChildren(...emotions.map((code, index) => {
    const row = made("div", code === answer.first ? "bar first" : "bar");
    const track = made("span", "track");
    track.append(made("i", ""));
    track.firstChild.style.width = `${100 * share(index)}%`;
    row.append(made("span", "", words[code]), track, made("span", "share", `${Math.round(100 * share(index))} %`));
    return row;
  }));
  at("time").hidden = answer.timeline.length < 2;
  at("timeline").replaceChildren(...answer.timeline.map((part) => {
    const span = made("i", "");
    span.style.flexGrow = part.end - part.start;
    const index = emotions.indexOf(part.label);
    span.style.background = index < 0 ? "var(--track)" : COLOURS[index % COLOURS.length];
    span.title = `${clock(part.start)} to ${clock(part.end)}: ${words[part.label]}`;
    return span;
  }));
  const seen = [...new Set(answer.timeline.map((part) => emotions.indexOf(part.label)).filter((one) => one >= 0))];
  at("legend").replaceChildren(...seen.map((index) => {
    const name = made("span", "", words[emotions[index]]);
    name.style.setProperty("--colour", COLOURS[index % COLOURS.length]);
    return name;
  }), made("span", "", "grey: unsure or silent"));
  at("end").textContent = clock(answer.seconds);
}

async function recogniseBytes(bytes, name, announced = 0) {
  say(`${name}: recognising …`);
  const missing = share(bytes);
  const channels = await recogniser.decode(bytes);
  if (channels[0].length > MOST_SECONDS * recogniser.settings.sample_rate) {
    throw new SoundError(`${name} is longer than ${MOST_SECONDS / 60} minutes. Take a part of it.`);
  }
  const progress = (share) => say(`${name}: recognising, ${Math.round(100 * share)} %`);
  show(await recogniser.recognise(channels, progress));
  const seconds = channels[0].length / recogniser.settings.sample_rate;
  const whole = Math.max(announced, missing * seconds);
  const cut = whole > 1.02 * seconds + 0.15;
  say(`${name}, ${clock(seconds)}${cut ? `: it is cut short, for it announces ${clock(whole)}` : ""}`, cut);
}

// Run one thing at a time, with a message for whatever fails.
async function attempt(action) {
  at("record").disabled = at("file").disabled = true;
  try {
    await action();
  } catch (error) {
    at("answer").hidden = true;
    say(error instanceof SoundError ? error.message : `That failed: ${error.message}`, true);
  }
  at("record").disabled = at("file").disabled = false;
}

function openFile(file) {
  if (!file) return;
  attempt(async () => {
    if (!file.size) throw new SoundError(`${file.name} is empty.`);
    if (file.size > MOST_BYTES) throw new SoundError(`${file.name} is larger than ${MOST_BYTES / 2 ** 20} MiB.`);
    const seconds = await announced(file);
    if (seconds > MOST_SECONDS) {
      throw new SoundError(`${file.name} is longer than ${MOST_SECONDS / 60} minutes. Take a part of it.`);
    }
    await recogniseBytes(await file.arrayBuffer(), file.name, seconds);
  });
}

// How long a file says that it is, so that no hour is decoded; 0 where the browser cannot know.
function announced(file) {
  const audio = new Audio();
  const url = URL.createObjectURL(file);
  return new Promise((done) => {
    audio.onloadedmetadata = () => done(Number.isFinite(audio.duration) ? audio.duration : 0);
    audio.onerror = () => done(0);
    audio.preload = "metadata";
    audio.src = url;
  }).finally(() => URL.revokeObjectURL(url));
}

// How many times as long as it is a WAV says that it is; 1 where it is whole, and of other files.
function share(bytes) {
  const view = new DataView(bytes);
  if (bytes.byteLength < 12 || view.getUint32(0) !== 0x52494646) return 1; // RIFF
  const size = view.getUint32(4, true) + 8;
  return size < 0x7fff0000 ? size / bytes.byteLength : 1; // programs that write to a pipe claim more
}

// Samples as a WAV of floats, which the browser decodes and resamples like any file.
function wav(parts, rate, seconds = Infinity) {
  let samples = 0;
  let first = parts.length;
  while (first > 0 && samples < seconds * rate) samples += parts[--first][0].length;
  const channels = Math.min(...parts.slice(first).map((part) => part.length));
  const bytes = new ArrayBuffer(44 + 4 * samples * channels);
  const view = new DataView(bytes);
  const text = (place, letters) => [...letters].forEach((one, i) => view.setUint8(place + i, one.charCodeAt(0)));
  text(0, "RIFF"); view.setUint32(4, bytes.byteLength - 8, true); text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 3, true); view.setUint16(22, channels, true);
  view.setUint32(24, rate, true); view.setUint32(28, 4 * channels * rate, true);
  view.setUint16(32, 4 * channels, true); view.setUint16(34, 32, true);
  text(36, "data"); view.setUint32(40, bytes.byteLength - 44, true);
  const values = new Float32Array(bytes, 44);
  let place = 0;
  for (const part of parts.slice(first)) {
    for (let i = 0; i < part[0].length; i++) for (let c = 0; c < channels; c++) values[place++] = part[c][i];
  }
  return bytes;
}

async function startRecording() {
  const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const stream = await navigator.mediaDevices?.getUserMedia({ audio: plain }).catch((error) => {
    throw new SoundError(`There is no microphone for this page (${error.message}).`);
  });
  if (!stream) throw new SoundError("Browsers give the microphone to https:// and localhost alone: open the page there.");
  const context = new AudioContext();
  await context.audioWorklet.addModule("recorder.js");
  const node = new AudioWorkletNode(context, "recorder");
  const parts = [];
  node.port.onmessage = ({ data }) => parts.push(data);
  context.createMediaStreamSource(stream).connect(node);
  recording = { stream, context, parts, timer: setInterval(listen, EVERY), busy: false };
  at("record").textContent = "Stop";
  at("answer").hidden = true;
  say("Listening: speak now.");
}

// The answer about the last moments, while the microphone is on.
async function listen() {
  const now = recording;
  const { window, sample_rate } = recogniser.settings;
  if (!now || now.busy || !now.parts.length) return;
  const seconds = now.parts.reduce((sum, part) => sum + part[0].length, 0) / now.context.sampleRate;
  if (seconds >= MOST_SECONDS) return attempt(stopRecording);
  now.busy = true;
  try {
    const channels = await recogniser.decode(wav(now.parts, now.context.sampleRate, window / sample_rate));
    const answer = await recogniser.recognise(channels.map((channel) => channel.subarray(-window)));
    if (recording === now) {
      show(answer);
      say(`Listening, ${clock(seconds)}: the last ${(window / sample_rate).toFixed(1)} s`);
    }
  } catch (error) {
    if (recording === now) say(error.message, !(error instanceof SoundError));
  }
  now.busy = false;
}

async function stopRecording() {
  const { stream, context, parts, timer } = recording;
  recording = null;
  at("record").textContent = "Record";
  clearInterval(timer);
  stream.getTracks().forEach((track) => track.stop());
  const rate = context.sampleRate;
  await context.close();
  if (!parts.length) throw new SoundError("The microphone gave no sound.");
  await recogniseBytes(wav(parts, rate), "Your recording");
}

at("record").onclick = () => attempt(recording ? stopRecording : startRecording);
at("file").onchange = ({ target }) => { openFile(target.files[0]); target.value = ""; };
document.ondragover = (event) => event.preventDefault();
document.ondrop = (event) => {
  event.preventDefault();
  if (!at("file").disabled && !recording) openFile(event.dataTransfer.files[0]);
};
attempt(async () => {
  recogniser = await loadRecogniser();
  at("run").textContent = recogniser.settings.run;
  at("limits").textContent = recogniser.settings.limits;
  say("Record yourself, or choose a recording.");
  document.body.dataset.ready = "yes";
});
