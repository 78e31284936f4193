// The shared worker that follows jobs for all windows of a browser. It ends with the last window.

import { Hub, MOST_STREAMS } from './hub.js';

const hub = new Hub(MOST_STREAMS);

addEventListener('connect', ({ ports: [port] }) => {
  port.onmessage = ({ data }) => hub.take(data, (answer) => port.postMessage(answer));
});
