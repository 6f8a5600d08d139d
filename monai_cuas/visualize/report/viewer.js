"use strict";
(() => {
  const entries = JSON.parse(document.getElementById("viewer-scans").textContent);
  const nonce = document.currentScript.nonce;
  const get = (id) => document.getElementById(id);
  const boxes = [...document.querySelectorAll("[data-layer]")];
  const looks = {
    scan: {colormap: "gray", opacity: 1, cal_min: 0, cal_max: 255},
    map: {colormap: "warm", opacity: 0.6},
    mask: {colormap: "blue2magenta", opacity: 0.6, cal_min: 0.5, cal_max: 1},
    truth: {colormap: "green", opacity: 0.5, cal_min: 0.5, cal_max: 1},
  };
  let viewer, scan, wanted = 0;

  async function unpacked(text) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  }

  // one NIfTI file of several volumes becomes one file for each
  function apart(buffer) {
    const head = new DataView(buffer, 0, 352);
    const count = head.getInt16(48, true);
    const size = [42, 44, 46].reduce((n, k) => n * head.getInt16(k, true), 1);
    return Array.from({length: count}, (_, k) => {
      const part = new Uint8Array(352 + size);
      part.set(new Uint8Array(buffer, 0, 352));
      part.set(new Uint8Array(buffer, 352 + k * size, size), 352);
      const own = new DataView(part.buffer);
      own.setInt16(40, 3, true);
      own.setInt16(48, 1, true);
      return part.buffer;
    });
  }

  function toMillimetres(head, [i, j, k]) {
    return [280, 296, 312].map((row) => [i, j, k, 1].reduce((sum, v, c) => sum + v * head.getFloat32(row + 4 * c, true), 0));
  }

  const score = (level) => scan.threshold + (level - scan.level) * scan.step;
  function oneIn(value) {
    const count = 10 ** value;
    return "1 in " + (count < 10 ? count.toFixed(1) : Number(count.toPrecision(2)).toLocaleString("en"));
  }

  const layer = (name) => viewer.volumes[scan.layers.indexOf(name)];

  function mark() {
    const level = Number(get("rate").value), atRun = level === scan.level;
    const map = layer("map"), mask = layer("mask");
    map.cal_min = level;
    map.cal_max = level + 2 / scan.step;
    let found = 0;
    for (let v = 0; v < scan.found.length; v++) {
      const marked = atRun ? scan.found[v] : Number(map.img[v] >= level);
      mask.img[v] = marked;
      found += marked;
    }
    get("said-rate").textContent = oneIn(score(level));
    get("said-rate").dataset.voxels = found;
    const volume = (found * scan.voxel_ml).toFixed(1) + " ml";
    get("shown").textContent = found === 0 ? "Nothing is marked." : atRun ? volume + ", as the run marked it."
      : volume + " marked; the run marks at " + oneIn(scan.threshold) + (scan.left_out ? ", and leaves small findings out." : ".");
    for (const box of boxes) {
      const index = scan.layers.indexOf(box.dataset.layer);
      box.parentElement.hidden = index < 0;
      if (index >= 0) viewer.volumes[index].opacity = box.checked ? looks[box.dataset.layer].opacity : 0;
    }
    viewer.updateGLVolume();
  }

  // where the map is highest, within the mask if there is one
  function goToHighest(head) {
    const map = layer("map"), [, nx, ny] = map.hdr.dims;
    let best = 0, value = -1;
    for (let v = 0; v < map.img.length; v++) {
      const here = map.img[v] + (scan.found[v] ? 256 : 0);
      if (here > value) [best, value] = [v, here];
    }
    const voxel = [best % nx, Math.floor(best / nx) % ny, Math.floor(best / (nx * ny))];
    viewer.scene.crosshairPos = viewer.mm2frac(toMillimetres(head, voxel));
  }

  async function show(index) {
    const mine = ++wanted, entry = entries[index];
    get("which").textContent = entry.name;
    get("where").textContent = (index + 1) + " of " + entries.length;
    const data = get("volumes" + index);
    get("viewer").dataset.ready = "";
    if (!data) {
      get("shown").textContent = entry.why + " The picture is below.";
      get("canvas").style.visibility = "hidden";
      return;
    }
    const next = JSON.parse(data.textContent);
    const parts = apart(await unpacked(next.volumes));
    if (mine !== wanted) return;
    await busy;
    busy = (async () => {
      if (mine !== wanted) return;
      while (viewer.volumes.length) viewer.removeVolumeByIndex(0);
      for (const [k, part] of parts.entries()) await viewer.loadFromArrayBuffer(part, next.layers[k] + ".nii");
      scan = next;
      scan.layers.forEach((name, k) => Object.assign(viewer.volumes[k], looks[name], {colorbarVisible: false}));
      scan.found = Uint8Array.from(layer("mask").img);
      Object.assign(get("rate"), {min: scan.lowest, max: scan.highest, value: scan.level});
      viewer.setInterpolation(true);
      mark();
      goToHighest(new DataView(parts[0]));
      viewer.drawScene();
      get("canvas").style.visibility = "visible";
      get("viewer").dataset.ready = String(index);
    })();
    return busy;
  }
  let busy = Promise.resolve();

  function trouble(error) {
    get("viewer").hidden = true;
    get("trouble").hidden = false;
    get("trouble").textContent = "The viewer does not work in this browser (" + error.message + "); the pictures do.";
    whenChosen.length = 0;
  }

  async function start() {
    const script = document.createElement("script");
    script.type = "module";
    script.nonce = nonce;
    const code = new TextDecoder().decode(await unpacked(get("niivue").textContent));
    const loaded = new Promise((resolve) => document.addEventListener("niivue-there", resolve, {once: true}));
    script.textContent = code + '\ndocument.dispatchEvent(new Event("niivue-there"));';
    document.body.append(script);
    await loaded;
    const canvas = document.querySelector("#canvas canvas");
    if (!canvas.getContext("webgl2")) throw new Error("no WebGL 2");
    get("viewer").hidden = false;
    viewer = new globalThis.reportNiivue({
      isRadiologicalConvention: true, isOrientationTextVisible: true, showAllOrientationMarkers: true,
      multiplanarShowRender: 0, multiplanarLayout: 3, multiplanarPadPixels: 24, sliceType: 3, dragAndDropEnabled: false, backColor: [0, 0, 0, 1],
      crosshairWidth: 0.5, crosshairColor: [1, 1, 1, 0.6], loadingText: "", logLevel: "error",
    });
    viewer.onLocationChange = (place) => {
      if (!scan || !place.values[1]) return;
      const level = Math.round(place.values[1].value);
      get("here").textContent = level <= 1 ? "" : "at the cross: as high in " + oneIn(Math.max(score(level), 0)) + " healthy voxels";
    };
    await viewer.attachToCanvas(canvas);
    get("rate").addEventListener("input", () => scan && mark());
    get("back").addEventListener("click", () => { if (scan) { get("rate").value = scan.level; mark(); } });
    boxes.forEach((box) => box.addEventListener("change", () => scan && mark()));
    get("previous").addEventListener("click", () => choose(at - 1));
    get("next").addEventListener("click", () => choose(at + 1));
    whenChosen.push((index) => show(index).catch(trouble));
    document.querySelectorAll("#scans a").forEach((link, k) => link.addEventListener("click", (event) => {
      event.preventDefault();
      choose(k);
      get("viewer").scrollIntoView();
    }));
    choose(0);
  }
  if (entries.length) start().catch(trouble);
})();
