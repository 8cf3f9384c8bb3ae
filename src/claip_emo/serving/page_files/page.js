// The page: a clip goes to the server, what was found comes back and moves with the player.
// `element` is the element around page.html; it has the page's settings in data-settings.
const $ = (id) => element.querySelector(`#${id}`);
const settings = JSON.parse(element.querySelector("[data-settings]").dataset.settings);
const colours = Object.fromEntries(settings.labels.map((name, n) => [name, settings.colours[n]]));
colours.uncertain = settings.colours[settings.labels.length];
const percent = (x) => `${Math.round(100 * x)} %`;
const USED = { av: "Face and voice", video: "Face alone", audio: "Voice alone" };
const NAMED = { csv: "CSV", json: "JSON", vtt: "WebVTT" };
let found = null;
let clipUrl = null;
let asking = null;
let recorder = null;

// ---- What a clip is chosen by

function show(id, visible) { $(id).hidden = !visible; }

function make(kind, className, text) {
  const made = document.createElement(kind);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

const longest = settings.limits.max_duration_s;
$("ce-limits").textContent =
  `Up to ${Math.max(1, Math.floor(settings.limits.max_bytes / 2 ** 20))} MB and ` +
  `${longest < 120 ? `${longest} seconds` : `${Math.floor(longest / 60)} minutes`}. ` +
  "The file stays yours: nothing is kept.";
$("ce-use").textContent = settings.use;
$("ce-model").textContent = settings.model;
show("ce-key-box", settings.key);

for (const example of settings.examples) {
  const button = make("button", "ce-example", example.title);
  button.type = "button";
  button.addEventListener("click", async () => {
    say(`Fetching ${example.title} ...`);
    const answer = await fetch(`page/examples/${example.name}`);
    if (!answer.ok) { fail("This example could not be fetched."); return; }
    look(new File([await answer.blob()], example.name, { type: example.type }));
  });
  const item = make("li");
  item.append(button);
  $("ce-examples").append(item);
}

$("ce-file").addEventListener("change", (event) => {
  if (event.target.files.length) look(event.target.files[0]);
  event.target.value = "";
});
$("ce-file").addEventListener("focus", () => $("ce-file-label").classList.add("ce-focus"));
$("ce-file").addEventListener("blur", () => $("ce-file-label").classList.remove("ce-focus"));

const drop = $("ce-drop");
for (const name of ["dragenter", "dragover"]) {
  drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("ce-over"); });
}
for (const name of ["dragleave", "drop"]) {
  drop.addEventListener(name, () => drop.classList.remove("ce-over"));
}
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer.files.length) look(event.dataTransfer.files[0]);
});

// ---- Webcam

$("ce-record").addEventListener("click", async () => {
  if (!navigator.mediaDevices || !window.MediaRecorder) {
    fail("This browser does not record; it needs https, or this machine itself as the server.");
    return;
  }
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640 }, audio: true });
  } catch (error) {
    fail(`The webcam cannot be used (${error.name}).`);
    return;
  }
  clearError();
  const parts = [];
  recorder = new MediaRecorder(stream);
  recorder.ondataavailable = (event) => parts.push(event.data);
  recorder.onstop = () => {
    stream.getTracks().forEach((track) => track.stop());
    clearInterval(clock);
    show("ce-live", false);
    $("ce-record").disabled = false;
    look(new File(parts, "webcam.webm", { type: recorder.mimeType }));
  };
  const begun = performance.now();
  const clock = setInterval(() => {
    const seconds = (performance.now() - begun) / 1000;
    $("ce-live-time").textContent = `${seconds.toFixed(0)} s of at most ${settings.record_s} s`;
    if (seconds >= settings.record_s && recorder.state === "recording") recorder.stop();
  }, 250);
  $("ce-live-video").srcObject = stream;
  $("ce-live-video").play();
  show("ce-live", true);
  $("ce-record").disabled = true;
  recorder.start();
  $("ce-stop").focus();
});
$("ce-stop").addEventListener("click", () => recorder && recorder.state === "recording" && recorder.stop());

// ---- Asking the server

function say(text) { $("ce-status").textContent = text; }
function clearError() { show("ce-error", false); }
function fail(text) {
  say("");
  show("ce-progress", false);
  $("ce-error").textContent = text;
  show("ce-error", true);
}

function look(file) {
  clearError();
  if (file.size > settings.limits.max_bytes) {
    fail(`${file.name} is larger than this server takes.`);
    return;
  }
  if (asking) asking.abort();
  show("ce-results", false);
  show("ce-progress", true);
  const form = new FormData();
  form.append("file", file);
  const request = (asking = new XMLHttpRequest());
  const progress = $("ce-progress");
  progress.value = 0;
  say(`Sending ${file.name} ...`);
  request.upload.onprogress = (event) => {
    if (event.lengthComputable) progress.value = event.loaded / event.total;
  };
  request.upload.onload = () => {
    progress.removeAttribute("value");
    say(`Looking at ${file.name} ...`);
  };
  request.onerror = () => fail("The server cannot be reached.");
  request.onload = () => {
    show("ce-progress", false);
    let answer = {};
    try { answer = JSON.parse(request.responseText); } catch { /* an error in between */ }
    if (request.status !== 200) {
      fail(answer.detail || `The server answered with ${request.status}.`);
      return;
    }
    present(file, answer);
  };
  request.open("POST", "page/look");
  if (settings.key) request.setRequestHeader("Authorization", `Bearer ${$("ce-key").value}`);
  request.send(form);
}

// ---- What was found

function present(file, answer) {
  found = answer;
  say(`Done: ${file.name}.`);
  if (clipUrl) URL.revokeObjectURL(clipUrl);
  clipUrl = URL.createObjectURL(file);
  const video = $("ce-video");
  const sound = !answer.timeline.people.some((person) => person.boxes.length) && !answer.picture;
  $("ce-stage").classList.toggle("ce-sound", sound);
  show("ce-unplayable", false);
  show("ce-stage", true);
  video.src = clipUrl;
  const best = ranked(answer.scores.av)[0];
  $("ce-answer").textContent = `${answer.label} — ${percent(best[1])}`;
  $("ce-sentence").textContent = sentence(answer);
  $("ce-apart").replaceChildren(
    ...Object.entries(answer.scores).filter(([, scores]) => scores).map(([used, scores]) => {
      const box = make("div");
      box.append(make("div", "ce-who", USED[used]), bars(scores));
      return box;
    }),
  );
  const warnings = answer.timeline.warnings.length ? answer.timeline.warnings : ["Nothing was missing."];
  $("ce-warnings").replaceChildren(...warnings.map((text) => make("li", "", text)));
  const stem = file.name.replace(/\.[^.]*$/, "") || "clip";
  $("ce-downloads").replaceChildren(...Object.entries(answer.files).map(([kind, text]) => {
    const link = make("a", "ce-button", NAMED[kind]);
    link.href = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
    link.download = `${stem}.${kind}`;
    link.setAttribute("aria-label", `Download the timeline as ${NAMED[kind]}`);
    return link;
  }));
  drawLanes(answer.timeline);
  const seek = $("ce-seek");
  seek.max = answer.timeline.duration_s;
  seek.value = 0;
  show("ce-results", true);
  at(0);
  $("ce-answer").focus({ preventScroll: true });
  $("ce-answer").scrollIntoView({ block: "start", behavior: "smooth" });
}

function ranked(scores) { return Object.entries(scores).sort((a, b) => b[1] - a[1]); }

function sentence(answer) {
  const people = answer.timeline.people.length;
  const who = people > 1 ? `${people} people are seen. ` : "";
  const [face, voice] = [answer.scores.video, answer.scores.audio];
  if (!face) return `${who}Only a voice was there to go by.`;
  if (!voice) return `${who}Only a face was there to go by.`;
  const [of_face, of_voice] = [ranked(face)[0][0], ranked(voice)[0][0]];
  return of_face === of_voice
    ? `${who}Face and voice agree: each alone says ${of_face} too.`
    : `${who}Face and voice differ: the face alone says ${of_face}, the voice alone ${of_voice}.`;
}

function bars(scores) {
  const box = make("div", "ce-bars");
  const top = ranked(scores)[0][0];
  for (const name of settings.labels) {
    const value = scores[name];
    const track = make("div", "ce-track");
    const fill = make("div", "ce-fill");
    fill.style.width = `${100 * value}%`;
    fill.style.background = colours[name];
    track.append(fill);
    const row = [make("span", "", name), track, make("span", "ce-value", percent(value))];
    if (name === top) { row[0].classList.add("ce-top"); row[2].classList.add("ce-top"); }
    box.append(...row);
  }
  return box;
}

function drawLanes(timeline) {
  const lanes = $("ce-lanes");
  const total = timeline.duration_s || 1;
  lanes.classList.toggle("ce-alone", timeline.people.length < 2);
  lanes.replaceChildren(...timeline.people.map((person) => {
    const lane = make("div", "ce-lane");
    if (timeline.people.length > 1) lane.append(make("span", "ce-lane-name", `Person ${person.id}`));
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 1000 30");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", `Person ${person.id}: ` + person.segments.map(
      (s) => `${s.label} from ${s.start_s.toFixed(1)} to ${s.end_s.toFixed(1)} seconds`).join(", "));
    for (const segment of person.segments) {
      const part = document.createElementNS(svg.namespaceURI, "rect");
      part.setAttribute("x", (1000 * segment.start_s) / total);
      part.setAttribute("width", Math.max(1, (1000 * (segment.end_s - segment.start_s)) / total - 1));
      part.setAttribute("y", 3);
      part.setAttribute("height", 24);
      part.setAttribute("fill", colours[segment.label]);
      const title = document.createElementNS(svg.namespaceURI, "title");
      title.textContent = `${segment.label} ${percent(segment.score)}`;
      part.append(title);
      svg.append(part);
    }
    const head = document.createElementNS(svg.namespaceURI, "rect");
    head.setAttribute("class", "ce-playhead");
    head.setAttribute("width", 3);
    head.setAttribute("height", 30);
    head.setAttribute("fill", "currentColor");
    svg.append(head);
    svg.addEventListener("click", (event) => {
      const place = svg.getBoundingClientRect();
      seekTo((total * (event.clientX - place.left)) / place.width);
    });
    lane.append(svg);
    return lane;
  }));
  const named = new Set(timeline.people.flatMap((p) => p.segments.map((s) => s.label)));
  const legend = make("div", "ce-legend");
  for (const name of named) {
    const entry = make("span");
    const dot = make("i");
    dot.style.background = colours[name];
    entry.append(dot, name);
    legend.append(entry);
  }
  lanes.append(legend);
}

// ---- In step with the player

function near(windows, time) {
  let best = null;
  for (const one of windows) {
    const away = Math.abs((one.start_s + one.end_s) / 2 - time);
    if (one.start_s <= time + 0.05 && time <= one.end_s + 0.05 && (!best || away < best.away)) {
      best = { away, one };
    }
  }
  return best && best.one;
}

function at(time) {
  if (!found) return;
  const now = $("ce-now");
  const people = found.timeline.people.map((person) => [person, near(person.windows, time)]).filter((p) => p[1]);
  now.replaceChildren(...(people.length ? people.flatMap(([person, window]) => {
    const who = found.timeline.people.length > 1 ? [make("div", "ce-who", `Person ${person.id}`)] : [];
    return [...who, bars(window.scores)];
  }) : [make("p", "ce-small", "Nobody is in sight.")]));
  for (const head of element.querySelectorAll(".ce-playhead")) {
    head.setAttribute("x", (1000 * time) / (found.timeline.duration_s || 1) - 1);
  }
  $("ce-clock").textContent = `${time.toFixed(1)} s of ${found.timeline.duration_s.toFixed(1)} s`;
  drawBoxes(time);
}

function between(boxes, time) {
  const after = boxes.findIndex((box) => box[0] >= time);
  if (after < 0) return boxes[boxes.length - 1];
  if (after === 0) return boxes[0];
  const [a, b] = [boxes[after - 1], boxes[after]];
  const share = (time - a[0]) / (b[0] - a[0]);
  return a.map((value, n) => value * (1 - share) + b[n] * share);
}

function drawBoxes(time) {
  const [video, canvas] = [$("ce-video"), $("ce-boxes")];
  const context = canvas.getContext("2d");
  const ratio = window.devicePixelRatio || 1;
  canvas.width = canvas.clientWidth * ratio;
  canvas.height = canvas.clientHeight * ratio;
  if (!video.videoWidth) return;
  const scale = Math.min(canvas.width / video.videoWidth, canvas.height / video.videoHeight);
  const left = (canvas.width - video.videoWidth * scale) / 2;
  const top = (canvas.height - video.videoHeight * scale) / 2;
  context.lineWidth = 3 * ratio;
  context.font = `600 ${15 * ratio}px system-ui, sans-serif`;
  for (const person of found.timeline.people) {
    for (const stretch of person.boxes) {
      if (!stretch.length || time < stretch[0][0] - 0.1 || time > stretch[stretch.length - 1][0] + 0.2) continue;
      const segment = person.segments.find((s) => s.start_s <= time + 0.05 && time <= s.end_s + 0.05);
      const label = segment ? segment.label : "uncertain";
      const [, x0, y0, x1, y1] = between(stretch, time);
      const box = [left + x0 * scale, top + y0 * scale, (x1 - x0) * scale, (y1 - y0) * scale];
      context.strokeStyle = context.fillStyle = colours[label];
      context.strokeRect(...box);
      const who = found.timeline.people.length > 1 ? `${person.id}  ${label}` : label;
      const width = context.measureText(who).width + 12 * ratio;
      const height = 24 * ratio;
      const over = Math.max(0, box[1] - height);
      context.fillRect(box[0] - context.lineWidth / 2, over, width, height);
      context.fillStyle = dark(colours[label]) ? "#fff" : "#111";
      context.fillText(who, box[0] + 5 * ratio, over + 17 * ratio);
    }
  }
}

function dark(colour) {
  const parts = [1, 3, 5].map((n) => parseInt(colour.slice(n, n + 2), 16));
  return parts[0] * 0.299 + parts[1] * 0.587 + parts[2] * 0.114 < 130;
}

const video = $("ce-video");
function seekTo(time) {
  if (video.readyState) video.currentTime = time;
  $("ce-seek").value = time;
  at(time);
}
function follow() {
  if (video.paused || !found) return;
  $("ce-seek").value = video.currentTime;
  at(video.currentTime);
  requestAnimationFrame(follow);
}
video.addEventListener("play", follow);
for (const name of ["seeked", "loadeddata", "pause"]) {
  video.addEventListener(name, () => { $("ce-seek").value = video.currentTime; at(video.currentTime); });
}
video.addEventListener("error", () => {
  if (!video.src) return;
  show("ce-unplayable", true);
  show("ce-stage", false);
});
$("ce-seek").addEventListener("input", (event) => seekTo(Number(event.target.value)));
new ResizeObserver(() => found && at(Number($("ce-seek").value))).observe($("ce-stage"));
element.querySelector(".ce").dataset.ready = "yes";
