// The page of one who shares or views a screen in the way of the clients up to
// 1.22, by their own facades. The test drives it as window.legacy.
import {
  ConsoleLogger, DefaultDeviceController, DefaultMeetingSession, LogLevel, MeetingSessionConfiguration,
} from 'amazon-chime-sdk-js';

const seen = []; // what the listening socket said, in order
let session;
let screen; // the canvas that is shared
let context;
let painter;
let plan = [];

/** What is on the screen from now on: rectangles as [colour, x, y, width, height]. */
function paint(rectangles) { plan = rectangles; }

function draw() {
  for (const [colour, x, y, width, height] of plan) {
    context.fillStyle = colour;
    context.fillRect(x, y, width, height);
  }
}

const listener = {
  streamDidStart: (detail) => seen.push(['start', detail.attendeeId]),
  streamDidStop: (detail) => seen.push(['stop', detail.attendeeId]),
  streamDidSwitch: (detail) => seen.push(['switch', detail.attendeeId]),
};

const sharer = {
  didStartScreenSharing: () => seen.push(['sharing']),
  didStopScreenSharing: () => seen.push(['stopped']),
  didReceiveStreamStopMessage: () => seen.push(['told to stop']),
  didClose: (event) => seen.push(['closed', event.code]),
};

window.legacy = {
  seen, paint,

  async open(meeting, attendee) {
    const logger = new ConsoleLogger('legacy', LogLevel.WARN);
    const configuration = new MeetingSessionConfiguration({ Meeting: meeting }, { Attendee: attendee });
    session = new DefaultMeetingSession(configuration, logger, new DefaultDeviceController(logger));
  },

  /** Shares a screen of this size; the browser's own picker is all that is not real. */
  async share(width, height, rectangles) {
    screen = document.createElement('canvas');
    Object.assign(screen, { width, height });
    context = screen.getContext('2d');
    paint(rectangles);
    draw();
    clearInterval(painter);
    painter = setInterval(draw, 100); // a canvas gives a frame when it is drawn on
    navigator.mediaDevices.getDisplayMedia = async () => screen.captureStream(10);
    session.screenShare.registerObserver(sharer);
    await session.screenShare.open();
    await session.screenShare.start();
  },

  again: () => session.screenShare.start(),
  pause: () => session.screenShare.pause(),
  stop: () => session.screenShare.stop(),

  async listen() {
    session.screenShareView.registerObserver(listener);
    await session.screenShareView.open();
  },

  /** Views what is shared in an element of this page. */
  async view() {
    const frame = document.createElement('div');
    frame.id = 'frame';
    Object.assign(frame.style, { width: '640px', height: '360px' });
    document.body.append(frame);
    await session.screenShareView.start(frame);
  },

  async unview() {
    await session.screenShareView.stop();
    document.getElementById('frame').remove();
  },

  /** The view's size, and the colours at these points, as [red, green, blue]; null without a view. */
  look(points) {
    const canvas = document.querySelector('#frame canvas');
    if (!canvas) return null;
    const pixels = canvas.getContext('2d');
    return {
      width: canvas.width, height: canvas.height,
      colours: points.map(([x, y]) => [...pixels.getImageData(x, y, 1, 1).data].slice(0, 3)),
    };
  },
};
