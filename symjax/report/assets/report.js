"use strict";
(() => {
  document.documentElement.classList.add("js");
  const data = JSON.parse(document.getElementById("data").textContent);
  const find = (id) => document.getElementById(id);
  const clamp = (x, low, high) => Math.min(Math.max(x, low), high);

  // Three digits, as in the tables.
  function format(value) {
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size >= 1e-3 && size < 1e3) {
      return value.toFixed(Math.max(0, 2 - Math.floor(Math.log10(size))));
    }
    // Exponents of two digits, as Python writes them.
    return value.toExponential(2).replace(/e([+-])(\d)$/, "e$10$2");
  }

  function heatMap() {
    const svg = find("map");
    if (!svg) return;
    const cells = Array.from(svg.querySelectorAll("rect.cell"));
    const names = Array.from(document.querySelectorAll("#map-rows li"));
    const cursor = svg.querySelector("rect.cursor");
    const readout = find("map-readout");
    const choice = find("map-structure");
    const { columns, rows, decades } = data.map;
    let values = data.map.sets[0].values;
    let row = 0;
    let column = 0;
    let shown = false;
    const at = (r, c) => cells[r * columns.length + c];

    function paint() {
      const linear = document.querySelector('input[name="scale"]:checked').value === "linear";
      find("map-low").textContent = linear ? "0" : `1e-${decades}`;
      for (let r = 0; r < rows.length; r++) {
        for (let c = 0; c < columns.length; c++) {
          const value = values[r] === null ? 0 : values[r][c];
          const log = value > 0 ? 1 + Math.log10(value) / decades : 0;
          at(r, c).setAttribute("fill-opacity", clamp(linear ? value : log, 0, 1).toFixed(3));
        }
      }
      if (shown) say();
    }

    function say() {
      const value = values[row] === null ? null : values[row][column];
      const text = value === null ? "not measured" : format(value);
      readout.textContent = `${rows[row]}: ${columns[column]} = ${text}`;
    }

    function move(r, c) {
      names[row].classList.remove("here");
      row = clamp(r, 0, rows.length - 1);
      column = clamp(c, 0, columns.length - 1);
      names[row].classList.add("here");
      for (const key of ["x", "y", "width", "height"]) {
        cursor.setAttribute(key, at(row, column).getAttribute(key));
      }
      cursor.removeAttribute("visibility");
      shown = true;
      say();
    }

    const steps = {
      ArrowUp: [-1, 0],
      ArrowDown: [1, 0],
      ArrowLeft: [0, -1],
      ArrowRight: [0, 1],
    };
    svg.addEventListener("keydown", (event) => {
      if (event.key in steps) {
        const [down, right] = steps[event.key];
        move(row + down, column + right);
      } else if (event.key === "Home") {
        move(row, 0);
      } else if (event.key === "End") {
        move(row, columns.length - 1);
      } else {
        return;
      }
      event.preventDefault();
    });
    svg.addEventListener("focus", () => move(row, column));
    svg.addEventListener("pointerover", (event) => {
      const index = cells.indexOf(event.target);
      if (index >= 0) move(Math.floor(index / columns.length), index % columns.length);
    });
    for (const input of document.querySelectorAll('input[name="scale"]')) {
      input.addEventListener("change", paint);
    }
    if (choice) {
      choice.addEventListener("change", () => {
        values = data.map.sets[Number(choice.value)].values;
        paint();
      });
    }
    paint();
  }

  // What is turned by pointer and keys: molecules and events.
  function turntable(canvas, draw, pick, step) {
    let turn = [1, 0, 0, 0, 1, 0, 0, 0, 1];
    const table = { zoom: 1 };

    // Rotation by an angle about x or y of the screen, applied after the present one.
    function rotate(about, angle) {
      const c = Math.cos(angle);
      const s = Math.sin(angle);
      const m = about === "y" ? [c, 0, s, 0, 1, 0, -s, 0, c] : [1, 0, 0, 0, c, -s, 0, s, c];
      const next = [];
      for (let i = 0; i < 3; i++) {
        for (let j = 0; j < 3; j++) {
          next.push(m[3 * i] * turn[j] + m[3 * i + 1] * turn[3 + j] + m[3 * i + 2] * turn[6 + j]);
        }
      }
      turn = next;
    }
    rotate("y", -0.5);
    rotate("x", 0.35);

    table.apply = (p) =>
      [0, 3, 6].map((i) => turn[i] * p[0] + turn[i + 1] * p[1] + turn[i + 2] * p[2]);

    // An empty canvas of the right resolution, and its size in pixels of the page.
    table.clear = (context) => {
      const ratio = window.devicePixelRatio || 1;
      const width = canvas.clientWidth;
      const height = canvas.clientHeight;
      if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
      if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, width, height);
      return [width, height];
    };

    let last = null;
    canvas.addEventListener("pointerdown", (event) => {
      last = [event.clientX, event.clientY];
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (last) {
        rotate("y", (event.clientX - last[0]) / 90);
        rotate("x", (event.clientY - last[1]) / 90);
        last = [event.clientX, event.clientY];
        draw();
        return;
      }
      const box = canvas.getBoundingClientRect();
      pick(event.clientX - box.left, event.clientY - box.top);
    });
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, () => {
        last = null;
      });
    }
    canvas.addEventListener("keydown", (event) => {
      const key = event.key;
      if (key === "ArrowLeft") rotate("y", -0.15);
      else if (key === "ArrowRight") rotate("y", 0.15);
      else if (key === "ArrowUp") rotate("x", -0.15);
      else if (key === "ArrowDown") rotate("x", 0.15);
      else if (key === "+" || key === "=") table.zoom = Math.min(table.zoom * 1.15, 6);
      else if (key === "-") table.zoom = Math.max(table.zoom / 1.15, 0.3);
      else if (key === "n" || key === "p") step(key === "n" ? 1 : -1);
      else return;
      event.preventDefault();
      draw();
    });
    window.addEventListener("resize", draw);
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    return table;
  }

  function rgb(name) {
    const hex = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  }
  const css = (color) => `rgb(${color.map(Math.round).join(",")})`;
  const mix = (a, b, share) => a.map((x, i) => x + (b[i] - x) * share);

  function viewer() {
    const canvas = find("atoms-canvas");
    if (!canvas) return;
    const context = canvas.getContext("2d");
    const structureChoice = find("atoms-structure");
    const outputChoice = find("atoms-output");
    const body = find("atoms-rows");
    const readout = find("atoms-readout");
    let structure = data.atoms[0];
    let output = structure.outputs[0];
    let marked = -1;
    let drawn = [];

    function draw() {
      const [width, height] = table.clear(context);
      const size = (Math.min(width, height) / 2 / (structure.extent + 0.9)) * table.zoom;
      const place = (p) => {
        const [x, y, z] = table.apply(p);
        return [width / 2 + size * x, height / 2 - size * y, z];
      };
      const [low, high, ink, line] = ["--low", "--high", "--ink", "--soft"].map(rgb);
      const largest = Math.max(...output.errors, Number.MIN_VALUE);
      const points = structure.positions.map(place);
      const items = points.map((p, i) => ({ depth: p[2], atom: i }));
      for (const [i, j] of structure.bonds) {
        // From surface to surface, so that no bond is drawn across its atoms.
        const [a, b] = [structure.positions[i], structure.positions[j]];
        const along = a.map((x, k) => b[k] - x);
        const length = Math.hypot(...along);
        const from = (0.55 * structure.radii[i]) / length;
        const to = 1 - (0.55 * structure.radii[j]) / length;
        const ends = [from, to].map((s) => place(a.map((x, k) => x + s * along[k])));
        items.push({ depth: (ends[0][2] + ends[1][2]) / 2, ends });
      }
      for (const [a, b] of structure.box) {
        items.push({ depth: -1e9, ends: [place(a), place(b)], thin: true });
      }
      items.sort((a, b) => a.depth - b.depth);
      drawn = [];
      for (const item of items) {
        if (item.ends) {
          context.beginPath();
          context.moveTo(item.ends[0][0], item.ends[0][1]);
          context.lineTo(item.ends[1][0], item.ends[1][1]);
          context.strokeStyle = css(line);
          context.globalAlpha = item.thin ? 0.5 : 1;
          context.lineWidth = item.thin ? 1 : Math.max(2, 0.16 * size);
          context.lineCap = "round";
          context.stroke();
          context.globalAlpha = 1;
          continue;
        }
        const [x, y] = points[item.atom];
        const radius = Math.max(4, 0.62 * structure.radii[item.atom] * size);
        const color = mix(low, high, output.errors[item.atom] / largest);
        const shade = context.createRadialGradient(
          x - radius / 3, y - radius / 3, radius / 8, x, y, radius
        );
        shade.addColorStop(0, css(mix(color, [255, 255, 255], 0.35)));
        shade.addColorStop(1, css(mix(color, [0, 0, 0], 0.12)));
        context.beginPath();
        context.arc(x, y, radius, 0, 2 * Math.PI);
        context.fillStyle = shade;
        context.fill();
        context.lineWidth = item.atom === marked ? 3 : 1;
        context.strokeStyle = css(item.atom === marked ? ink : line);
        context.stroke();
        if (radius > 8) {
          // Black or white, whichever is easier to read on the color.
          const bright = (0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]) / 255;
          context.fillStyle = bright > 0.5 ? "#000" : "#fff";
          context.font = `${Math.min(15, Math.round(radius))}px system-ui, sans-serif`;
          context.textAlign = "center";
          context.textBaseline = "middle";
          context.fillText(structure.symbols[item.atom], x, y);
        }
        drawn.push([x, y, radius, item.atom]);
      }
      find("atoms-high").textContent = `${format(largest)} ${output.unit}`;
    }

    function mark(atom) {
      if (body.children[marked]) body.children[marked].classList.remove("here");
      marked = atom;
      if (body.children[atom]) body.children[atom].classList.add("here");
      readout.textContent =
        atom < 0
          ? ""
          : `Atom ${atom} (${structure.symbols[atom]}): ` +
            `A = ${format(output.errors[atom])} ${output.unit}`;
      draw();
    }

    function list() {
      body.textContent = "";
      const largest = Math.max(...output.errors, Number.MIN_VALUE);
      output.errors.forEach((error, atom) => {
        const row = body.insertRow();
        const head = document.createElement("th");
        head.scope = "row";
        head.textContent = `${structure.symbols[atom]} ${atom}`;
        row.append(head);
        const number = row.insertCell();
        number.textContent = format(error);
        const bar = document.createElement("span");
        bar.className = "bar";
        const fill = document.createElement("i");
        fill.style.width = `${(100 * error) / largest}%`;
        bar.append(fill);
        row.insertCell().append(bar);
        row.addEventListener("pointerenter", () => mark(atom));
      });
      find("atoms-unit").textContent = output.unit;
    }

    function choose() {
      structure = data.atoms[structureChoice ? Number(structureChoice.value) : 0];
      const wanted = outputChoice ? outputChoice.value : output.name;
      output = structure.outputs.find((o) => o.name === wanted) || structure.outputs[0];
      marked = -1;
      readout.textContent = "";
      list();
      draw();
    }
    for (const choice of [structureChoice, outputChoice]) {
      if (choice) choice.addEventListener("change", choose);
    }

    const table = turntable(
      canvas,
      draw,
      (x, y) => {
        const hit = drawn.filter((d) => Math.hypot(d[0] - x, d[1] - y) <= d[2]).pop();
        if (hit && hit[3] !== marked) mark(hit[3]);
      },
      (by) => {
        const count = structure.symbols.length;
        mark(marked < 0 ? (by > 0 ? 0 : count - 1) : (marked + by + count) % count);
      }
    );
    choose();
  }

  function cloudViewer() {
    const canvas = find("cloud-canvas");
    if (!canvas) return;
    const context = canvas.getContext("2d");
    const eventChoice = find("cloud-event");
    const colorChoice = find("cloud-color");
    const legend = find("cloud-legend");
    const readout = find("cloud-readout");
    const classes = canvas.dataset.classes.split(" ").map((name) => name.replace("_", " "));
    const tones = ["--high", "--accent", "--good", "--violet", "--ochre"];
    let cloud = data.clouds[0];
    let marked = -1;
    let drawn = [];
    const name = (label) => (label < 0 ? "unknown" : classes[label] || `class ${label}`);

    // Each coloring: a shade of every point, or a class of it with names.
    function colorings() {
      const all = Object.keys(cloud.errors).map((output) => ({
        title: `A of ${output}`,
        values: cloud.errors[output],
      }));
      if (cloud.labels.length) {
        const of = (labels) => ({ kinds: labels, names: name, tone: (k) => tones[k % 5] });
        all.push({ title: "predicted label", ...of(cloud.labels) });
        all.push({ title: "true label", ...of(cloud.semantic) });
        all.push({
          title: "label changes on the orbit",
          kinds: cloud.changes.map((share) => (share > 0 ? 1 : 0)),
          names: (kind) => (kind ? "changes" : "stays"),
          tone: (kind) => (kind ? "--high" : "--accent"),
        });
      } else if (cloud.semantic.some((label) => label >= 0)) {
        all.push({
          title: "true label",
          kinds: cloud.semantic,
          names: name,
          tone: (k) => tones[k % 5],
        });
      }
      all.push({ title: "energy in MeV", values: cloud.energies });
      return all;
    }
    const chosen = () => colorings()[Math.max(colorChoice.selectedIndex, 0)];

    function draw() {
      const [width, height] = table.clear(context);
      const size = (Math.min(width, height) / 2 / (cloud.extent + 1)) * table.zoom;
      const coloring = chosen();
      const [low, high, ink, soft] = ["--accent", "--high", "--ink", "--soft"].map(rgb);
      const largest = coloring.values ? Math.max(...coloring.values, Number.MIN_VALUE) : 0;
      const tone = {};
      const colorOf = (i) => {
        if (coloring.values) return mix(low, high, coloring.values[i] / largest);
        const kind = coloring.kinds[i];
        if (!(kind in tone)) tone[kind] = kind < 0 ? soft : rgb(coloring.tone(kind));
        return tone[kind];
      };
      drawn = cloud.positions.map((p, i) => {
        const [x, y, z] = table.apply(p);
        return [width / 2 + size * x, height / 2 - size * y, z, i];
      });
      drawn.sort((a, b) => a[2] - b[2]);
      const radius = clamp(0.6 * size, 2.8, 9);
      for (const [x, y, z, i] of drawn) {
        // Points at the back are fainter.
        context.globalAlpha = 0.75 + (0.25 * z) / cloud.extent;
        context.beginPath();
        context.arc(x, y, i === marked ? radius + 3 : radius, 0, 2 * Math.PI);
        context.fillStyle = css(colorOf(i));
        context.fill();
        if (i === marked) {
          context.globalAlpha = 1;
          context.lineWidth = 2;
          context.strokeStyle = css(ink);
          context.stroke();
        }
      }
      context.globalAlpha = 1;
      legend.textContent = "";
      const say = (text, color) => {
        const item = document.createElement("span");
        if (color) {
          const chip = document.createElement("i");
          chip.style.background = css(color);
          item.append(chip);
        }
        item.append(text);
        legend.append(item);
      };
      if (coloring.values) {
        say("0", low);
        say(format(largest), high);
      } else {
        for (const kind of [...new Set(coloring.kinds)].sort((a, b) => a - b)) {
          const count = coloring.kinds.filter((k) => k === kind).length;
          const first = coloring.kinds.indexOf(kind);
          say(`${coloring.names(kind)} (${count})`, colorOf(first));
        }
      }
    }

    function mark(i) {
      marked = i;
      if (i < 0) readout.textContent = "Point at or tap a voxel, or press n.";
      else {
        const place = cloud.positions[i].map((x, k) => Number((x + cloud.middle[k]).toFixed(2)));
        const parts = [`Voxel (${place.join(", ")}): ${format(cloud.energies[i])} MeV`];
        for (const output of Object.keys(cloud.errors)) {
          parts.push(`A of ${output} = ${format(cloud.errors[output][i])}`);
        }
        if (cloud.labels.length) {
          const share = `${format(100 * cloud.changes[i])} %`;
          parts.push(`${name(cloud.labels[i])}, another label at ${share} of orientations`);
        }
        if (cloud.semantic[i] >= 0) parts.push(`truth: ${name(cloud.semantic[i])}`);
        readout.textContent = parts.join("; ");
      }
      draw();
    }

    function choose() {
      const title = colorChoice.value;
      cloud = data.clouds[Number(eventChoice.value)];
      colorChoice.textContent = "";
      colorings().forEach((coloring) => {
        const option = document.createElement("option");
        option.textContent = coloring.title;
        option.selected = coloring.title === title;
        colorChoice.append(option);
      });
      mark(-1);
    }
    const table = turntable(
      canvas,
      draw,
      (x, y) => {
        const near = drawn.filter((d) => Math.hypot(d[0] - x, d[1] - y) <= 6).pop();
        if (near && near[3] !== marked) mark(near[3]);
      },
      (by) => {
        const count = cloud.positions.length;
        mark(marked < 0 ? (by > 0 ? 0 : count - 1) : (marked + by + count) % count);
      }
    );
    eventChoice.addEventListener("change", choose);
    colorChoice.addEventListener("change", draw);
    choose();
  }

  // A plot of lines over common x, with a cursor for pointer and keyboard.
  function plot(svg, say) {
    const frame = { left: 48, right: 306, top: 10, bottom: 190 };
    let content = null;
    let index = 0;
    let place = null;
    let cursor = null;

    function add(name, attributes, text) {
      const element = document.createElementNS(svg.namespaceURI, name);
      for (const key of Object.keys(attributes)) element.setAttribute(key, attributes[key]);
      if (text !== undefined) element.textContent = text;
      svg.append(element);
      return element;
    }

    // Logarithmic from the decade of the smallest number, linear from 0.
    function vertical(values, log) {
      const largest = Math.max(...values, Number.MIN_VALUE);
      if (log) {
        const floor = Math.min(...values.map((v) => Math.max(v, 1e-14)), 1);
        const low = Math.floor(Math.log10(floor));
        const high = Math.max(Math.ceil(Math.log10(Math.max(largest, 1e-14))), low + 1);
        const step = Math.ceil((high - low) / 6);
        const ticks = [];
        for (let d = high; d >= low; d -= step) ticks.push(d);
        const at = (v) => (Math.log10(Math.max(v, 1e-14)) - low) / (high - low);
        return { ticks: ticks.map((d) => [at(10 ** d), d === 0 ? "1" : `1e${d}`]), at };
      }
      // Three or four steps of 1, 2 or 5.
      const rough = 10 ** Math.floor(Math.log10(largest / 3));
      const step = rough * [1, 2, 5, 10].find((s) => largest / (s * rough) <= 4);
      const top = Math.max(step * Math.ceil((1.02 * largest) / step), Number.MIN_VALUE);
      const ticks = [];
      for (let k = 0; k * step <= top * 1.001; k++) {
        // Without the zeros behind the last digit that counts.
        const text = format(k * step).replace(/(\.\d*?)0+($|e)/, "$1$2");
        ticks.push([(k * step) / top, text.replace(/\.($|e)/, "$1")]);
      }
      return { ticks, at: (v) => v / top };
    }

    function draw(next) {
      content = next;
      svg.textContent = "";
      const { xs, lines, log, label } = content;
      index = clamp(index, 0, xs.length - 1);
      const known = lines.flatMap((line) => line.values.filter((v) => v !== null));
      const scale = vertical(log ? known.filter((v) => v > 0) : known, log);
      const first = xs[0];
      const span = Math.max(xs[xs.length - 1] - first, 1);
      const x = (value) => frame.left + 8 + ((frame.right - frame.left - 16) * (value - first)) / span;
      const y = (value) => frame.bottom - (frame.bottom - frame.top) * scale.at(value);
      for (const [share, text] of scale.ticks) {
        const height = frame.bottom - (frame.bottom - frame.top) * share;
        add("line", { class: "grid", x1: frame.left, x2: frame.right, y1: height, y2: height });
        add("text", { class: "y", x: frame.left - 5, y: height + 4 }, text);
      }
      let used = -Infinity;
      // From the right, so that the grid itself always has its degree.
      for (const value of [...xs].reverse()) {
        if (used - x(value) < 17 && used !== -Infinity) continue;
        used = x(value);
        add("text", { class: "x", x: used, y: frame.bottom + 16 }, String(value));
      }
      add("text", { class: "x", x: (frame.left + frame.right) / 2, y: frame.bottom + 34 }, label);
      cursor = add("line", { class: "cursor", visibility: "hidden", y1: frame.top, y2: frame.bottom });
      const labels = [];
      for (const line of lines) {
        const points = [];
        line.values.forEach((value, i) => {
          if (value !== null && (!log || value > 0)) points.push([x(xs[i]), y(value)]);
        });
        if (!points.length) continue;
        const kind = `tone${line.tone}${line.dashed ? " dashed" : ""}`;
        add("polyline", { class: `line ${kind}`, points: points.map((p) => p.join(",")).join(" ") });
        if (!line.dashed) {
          for (const [px, py] of points) add("circle", { class: kind, cx: px, cy: py, r: 3 });
        }
        if (line.name) labels.push([points[points.length - 1], line, kind]);
      }
      // Labels at the ends of lines, moved apart where they would overlap.
      labels.sort((a, b) => a[0][1] - b[0][1]);
      let above = -Infinity;
      const most = frame.bottom + 4;
      const heights = labels.map(([point]) => (above = Math.max(point[1] + 4, above + 11)));
      for (let k = heights.length - 1, below = most + 11; k >= 0; k--) {
        below = heights[k] = Math.min(heights[k], below - 11);
      }
      labels.forEach(([point, line, kind], k) => {
        add("text", { class: `end ${kind}`, x: point[0] + 7, y: heights[k] }, line.name);
      });
      place = x;
    }

    function move(to) {
      if (!content) return;
      index = clamp(to, 0, content.xs.length - 1);
      const at = place(content.xs[index]);
      cursor.setAttribute("x1", at);
      cursor.setAttribute("x2", at);
      cursor.removeAttribute("visibility");
      say(content.say(index));
    }

    function hide() {
      if (cursor) cursor.setAttribute("visibility", "hidden");
    }

    svg.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -1e9, End: 1e9 };
      if (!(event.key in steps)) return;
      move(index + steps[event.key]);
      event.preventDefault();
    });
    svg.addEventListener("focus", () => move(index));
    svg.addEventListener("blur", hide);
    svg.addEventListener("pointerleave", hide);
    for (const name of ["pointermove", "pointerdown"]) {
      svg.addEventListener(name, (event) => {
        if (!content) return;
        const bounds = svg.getBoundingClientRect();
        const at = ((event.clientX - bounds.left) * 340) / bounds.width;
        const far = content.xs.map((value) => Math.abs(place(value) - at));
        move(far.indexOf(Math.min(...far)));
      });
    }
    return {
      draw,
      clear() {
        content = null;
        svg.textContent = "";
      },
    };
  }

  function curves() {
    const response = find("curve-response");
    if (!response) return;
    const structure = find("curve-structure");
    const readout = find("curve-readout");
    const { rows, units, sets } = data.curves;
    const say = (text) => {
      readout.textContent = text;
    };
    const [error, content, spectrum] = ["error", "content", "spectrum"].map((name) =>
      plot(find(`curve-${name}`), say)
    );

    function choose() {
      const row = Number(response.value);
      const own = sets[structure ? Number(structure.value) : 0].values[row];
      if (!own) {
        for (const one of [error, content, spectrum]) one.clear();
        say(`${rows[row]}: no curve, as results of coarser rules are not known here`);
        return;
      }
      const unit = units[row] ? ` ${units[row]}` : "";
      const degrees = own.degrees;
      const last = degrees.length - 1;
      error.draw({
        xs: degrees,
        label: `degree of the rule${units[row] ? `; A in ${units[row]}` : ""}`,
        log: false,
        lines: [{ values: own.error, tone: 0 }],
        say: (i) => {
          const change = own.error[last] > 0 ? own.error[i] / own.error[last] - 1 : 0;
          const more = i === last ? "reported" : `${format(100 * change)} % from the reported`;
          return (
            `Degree ${degrees[i]}: A = ${format(own.error[i])}${unit}, ` +
            `A/RMS = ${format(own.relative[i])} (${more})`
          );
        },
      });
      const through = own.content[last].map((_, l) => l);
      content.draw({
        xs: degrees,
        label: "degree of the rule",
        log: true,
        lines: through.map((l) => ({
          values: own.content.map((one) => (l < one.length ? one[l] : null)),
          name: `l = ${l}`,
          tone: l % 5,
        })),
        say: (i) =>
          `Degree ${degrees[i]}: ` +
          own.content[i].map((value, l) => `B(${l}) = ${format(value)}`).join(", "),
      });
      const tail = own.tail;
      const end = tail ? tail.degrees[tail.degrees.length - 1] : own.sectors.length - 1;
      const xs = Array.from({ length: end + 1 }, (_, l) => l);
      const fill = (values) => xs.map((l) => (l < values.length ? values[l] : null));
      const lines = [
        { values: fill(own.sectors.map((one) => one[0])), tone: 0 },
        { values: fill(own.sectors.map((one) => one[1])), tone: 1 },
      ];
      const extrapolated = (l) => (tail && l >= tail.degrees[0] ? tail.content[l - tail.degrees[0]] : null);
      if (tail) lines.push({ values: xs.map(extrapolated), tone: 2, dashed: true });
      spectrum.draw({
        xs,
        label: `l${tail ? "" : "; no decay that could be extrapolated"}`,
        log: true,
        lines,
        say: (l) =>
          l < own.sectors.length
            ? `B(${l}, +) = ${format(own.sectors[l][0])}, B(${l}, \u2212) = ${format(own.sectors[l][1])}`
            : `B(${l}) = ${format(extrapolated(l))}, extrapolated`,
      });
      say("Point at or tap a curve, or use the arrow keys.");
    }
    for (const choice of [response, structure]) {
      if (choice) choice.addEventListener("change", choose);
    }
    choose();
  }

  heatMap();
  curves();
  viewer();
  cloudViewer();
})();
