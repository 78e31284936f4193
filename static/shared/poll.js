// Repeats a call while the page is visible. One call at a time; after a failure it waits longer, up to half a minute.

/**
 * Runs `action(signal)` now and again `seconds` after it has finished (it may return another number of seconds).
 * Returns `{stop, now}`: `now()` brings the next run forward.
 */
export function poll(seconds, action) {
  const controller = new AbortController();
  let timer = 0;
  let running = false;
  let again = false;
  let failures = 0;

  async function run() {
    clearTimeout(timer);
    if (controller.signal.aborted) return;
    if (running) {
      again = true;
      return;
    }
    running = true;
    let pause = seconds;
    try {
      pause = (await action(controller.signal)) ?? seconds;
      failures = 0;
    } catch (error) {
      if (controller.signal.aborted) return;
      failures += 1;
      pause = Math.min(30, Math.max(1, seconds) * 2 ** failures);
      if (!('status' in error)) console.error(error);
    } finally {
      running = false;
    }
    if (again) {
      again = false;
      pause = 0;
    }
    if (!document.hidden && !controller.signal.aborted) timer = setTimeout(run, pause * 1000);
  }

  document.addEventListener('visibilitychange', () => (document.hidden ? clearTimeout(timer) : run()), {
    signal: controller.signal,
  });
  run();
  return {
    now: run,
    stop: () => {
      controller.abort();
      clearTimeout(timer);
    },
  };
}
