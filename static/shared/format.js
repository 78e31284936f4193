// Numbers, sizes and times for people. Pure functions; null and undefined give a dash.

const NONE = '–';
const count = new Intl.NumberFormat('en');
const date = new Intl.DateTimeFormat('en', { dateStyle: 'medium', timeStyle: 'short' });
const isNumber = (value) => typeof value === 'number' && Number.isFinite(value);

/** `1,234` */
export function formatCount(value) {
  return isNumber(value) ? count.format(value) : NONE;
}

/** `1 image`, `3 images` */
export function plural(value, one, many = `${one}s`) {
  return `${formatCount(value)} ${value === 1 ? one : many}`;
}

/** In millions: `11.7 M`, `0.27 M` */
export function formatMillions(value) {
  if (!isNumber(value)) return NONE;
  const millions = value / 1e6;
  return `${millions < 9.995 ? millions.toFixed(2) : millions.toFixed(1)} M`;
}

/** Bytes, in powers of 1000: `11.2 MB` */
export function formatBytes(bytes) {
  if (!isNumber(bytes)) return NONE;
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value < 10 && unit > 0 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** A share from 0 to 1: `94.2 %` */
export function formatShare(share) {
  if (!isNumber(share)) return NONE;
  const percent = share * 100;
  return `${percent === 0 || percent === 100 ? percent : percent.toFixed(1)} %`;
}

/** A loss or a learning rate, three digits: `0.421`, `1.2e-5` */
export function formatNumber(value) {
  if (!isNumber(value)) return NONE;
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size < 1e-4 || size >= 1e6) return value.toExponential(1);
  return size >= 100 ? formatCount(Math.round(value)) : String(Number(value.toPrecision(3)));
}

/** Seconds: `0.8 s`, `42 s`, `3 min 20 s`, `2 h 5 min` */
export function formatSeconds(seconds) {
  if (!isNumber(seconds)) return NONE;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** The remaining time, roughly: `about 12 s left` */
export function formatRemaining(seconds) {
  if (!isNumber(seconds)) return '';
  return `about ${seconds < 9.5 ? `${Math.max(1, Math.round(seconds))} s` : formatSeconds(seconds)} left`;
}

/** Milliseconds: `12.1 ms` */
export function formatMilliseconds(value) {
  return isNumber(value) ? `${value < 99.5 ? value.toFixed(1) : Math.round(value)} ms` : NONE;
}

/** An RFC 3339 time in the reader's time zone: `Nov 23, 2026, 9:04 PM` */
export function formatTime(text) {
  const time = new Date(text);
  return Number.isNaN(time.getTime()) ? NONE : date.format(time);
}

/** How long ago an RFC 3339 time was: `just now`, `5 min ago`; after a day the date. */
export function formatAgo(text, now = Date.now()) {
  const seconds = (now - new Date(text).getTime()) / 1000;
  if (!isNumber(seconds)) return NONE;
  if (seconds < 45) return 'just now';
  if (seconds < 3600) return `${Math.max(1, Math.round(seconds / 60))} min ago`;
  if (seconds < 86400) return `${Math.round(seconds / 3600)} h ago`;
  return formatTime(text);
}

/** Seconds between two RFC 3339 times, or until now. */
export function secondsBetween(start, end) {
  return ((end ? new Date(end).getTime() : Date.now()) - new Date(start).getTime()) / 1000;
}

/** An API code as text for people: `out_of_memory` becomes `Out of memory`. */
export function words(code) {
  const text = String(code ?? '').replaceAll('_', ' ').replaceAll('-', ' ');
  return text.charAt(0).toUpperCase() + text.slice(1);
}
