// For testing.demo: the microphone as it is, neither filtered nor levelled, and hardly compressed.
const media = navigator.mediaDevices;
const ask = media?.getUserMedia.bind(media);
const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
if (ask) media.getUserMedia = ({ audio, ...others }) => ask({ ...others, audio: audio && { ...audio, ...plain } });
window.MediaRecorder = class extends MediaRecorder {
  constructor(stream, options) {
    super(stream, { ...options, audioBitsPerSecond: 256_000 });
  }
};
