// Numbers and times as people read them.

const DASH = "–";

export function seconds(value) {
  if (value == null) return DASH;
  if (value < 0.001) return "0 s";
  if (value < 0.1) return `${(value * 1000).toPrecision(2)} ms`;
  return value < 9.95 ? `${value.toFixed(1)} s` : `${Math.round(value)} s`;
}

export function milliseconds(value) {
  if (value == null) return DASH;
  return value < 10 ? `${value.toFixed(1)} ms` : `${Math.round(value)} ms`;
}

export function perSecond(value) {
  if (value == null) return DASH;
  return value > 0 && value < 9.95 ? value.toFixed(1) : count(value);
}

export function count(value) {
  if (value == null) return DASH;
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
    if (value >= size) {
      const scaled = value / (unit === "k" ? 1e3 : size);
      return `${scaled < 9.95 ? scaled.toFixed(1) : Math.round(scaled)}${unit}`;
    }
  }
  return String(Math.round(value));
}

export function bytes(value) {
  if (value == null) return DASH;
  for (const [size, unit] of [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]]) {
    if (value >= size) return `${(value / size).toPrecision(3)} ${unit}`;
  }
  return `${Math.round(value)} B`;
}

export function auc(value) {
  return value == null ? DASH : value.toFixed(3);
}

export function number(value) {
  return value == null ? DASH : value < 999.5 ? value.toPrecision(3) : count(value);
}

// How long ago, roughly.
export function duration(s) {
  if (s == null) return DASH;
  if (s < 60) return `${Math.max(0, Math.round(s))} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.round(s % 60)} s`;
  return `${Math.floor(s / 3600)} h ${Math.round((s % 3600) / 60)} min`;
}
