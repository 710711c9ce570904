package freshet.join;

import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;

/**
 * From a record to an event the join can trust, or to the reason why not.
 *
 * <p>Whatever passes can be written: an example that the producer refused would fail the job at every restart.
 */
final class Intake {
  /** Examples of one request take up to so many times {@code max_event_bytes}, as far as they repeat each other. */
  private static final long MAX_REPETITION = 16;
  /** An example is at most so many times as long as the JSON it repeats, for each feature that reads a key. */
  private static final int GROWTH = 5;

  private final RequestReader requests;
  private final ActionReader actions = new ActionReader();
  private final boolean isOfFiles;
  private final int maxBytes;
  private final long maxRepeatedBytes;
  private final long maxExampleBytes;
  private final long maxPastMs;
  private final long maxFutureMs;

  Intake(Settings settings, Schema schema) {
    requests = new RequestReader(schema);
    isOfFiles = settings.joiner().input() != null && settings.joiner().input().isFiles();
    maxBytes = settings.joiner().maxEventBytes();
    maxRepeatedBytes = MAX_REPETITION * maxBytes;
    maxExampleBytes = settings.kafka().maxMessageBytes() / (2 * GROWTH * mostReaders(settings));
    maxPastMs = settings.joiner().maxPastMs();
    maxFutureMs = settings.joiner().maxFutureMs();
  }

  private static int mostReaders(Settings settings) {
    Map<String, Integer> readers = new HashMap<>();
    settings.features().forEach(each -> readers.merge(each.origin() + "." + each.key(), 1, Integer::sum));
    return readers.values().stream().max(Integer::compare).orElse(1);
  }

  Action readAction(Arrival arrival, long nowMs) throws MalformedEvent {
    checkSize(arrival);
    Action action = actions.read(arrival.value());
    checkTime(action.ts(), arrival.loggedTsMs(), nowMs);
    return action;
  }

  Request readRequest(Arrival arrival, long nowMs) throws MalformedEvent {
    checkSize(arrival);
    Request request = requests.read(arrival.value());
    checkTime(request.ts(), arrival.loggedTsMs(), nowMs);
    if (request.items().length > 0) {
      checkExamples(request, bytes(arrival));
    }
    return request;
  }

  private void checkSize(Arrival arrival) throws MalformedEvent {
    if (arrival.value() == null) {
      throw MalformedEvent.malformed("the record has no value");
    }
    int bytes = bytes(arrival);
    if (bytes > maxBytes) {
      throw new MalformedEvent("too-large", bytes + " bytes; at most " + maxBytes + " are taken");
    }
  }

  /** The path of a file is no part of its events. */
  private int bytes(Arrival arrival) {
    return isOfFiles ? arrival.valueBytes() : arrival.keyBytes() + arrival.valueBytes();
  }

  private void checkExamples(Request request, int eventBytes) throws MalformedEvent {
    long items = request.items().length;
    if (isSurelyShort(request, eventBytes)) {
      return;
    }
    long sharedBytes = sharedBytes(request);
    if (items * sharedBytes + eventBytes > maxRepeatedBytes) {
      throw new MalformedEvent(
          "too-large",
          items + " examples would repeat " + sharedBytes + " bytes of `user`, `context` and `request_id`; at most "
              + maxRepeatedBytes + " bytes in all are taken");
    }
    // One example is part of the event: as a rule the event itself is short enough.
    if (eventBytes > maxExampleBytes) {
      checkLargest(request, sharedBytes);
    }
  }

  /** Spares most events the measuring, which takes as long as reading them. */
  private boolean isSurelyShort(Request request, int eventBytes) {
    long mostBytes = request.items().length * JsonLength.GROWTH * request.json().data().length + eventBytes;
    return request.json().depth() <= JsonLength.MAX_DEPTH && mostBytes <= maxRepeatedBytes && eventBytes <= maxExampleBytes;
  }

  private void checkLargest(Request request, long sharedBytes) throws MalformedEvent {
    long largestBytes = 0;
    for (int item : request.items()) {
      largestBytes = Math.max(largestBytes, JsonLength.of(request.json(), item, 0));
    }
    if (sharedBytes + largestBytes > maxExampleBytes) {
      throw new MalformedEvent(
          "too-large",
          "an item with its `user` and `context` has " + (sharedBytes + largestBytes) + " bytes; at most "
              + maxExampleBytes + " fit into a message");
    }
  }

  /** The length of {@code [request_id, user, context]}. */
  private static long sharedBytes(Request request) throws MalformedEvent {
    long idBytes = JsonLength.ofText(request.requestId().getBytes(StandardCharsets.UTF_8));
    return idBytes + objectBytes(request, request.user()) + objectBytes(request, request.context()) + "[,,]".length();
  }

  private static long objectBytes(Request request, int object) throws MalformedEvent {
    return object == Json.ABSENT ? "{}".length() : JsonLength.of(request.json(), object, 1);
  }

  private void checkTime(EventTime ts, long loggedTsMs, long nowMs) throws MalformedEvent {
    // One event of the year 2100 would close every window at once: the source leaves the same ones out of its watermark.
    if (ts.isBefore(Saturated.add(loggedTsMs, -maxPastMs))) {
      throw new MalformedEvent("timestamp", "`ts` is " + ts.since(loggedTsMs).negate() + " ms before its record's time");
    }
    if (ts.isAfter(Saturated.add(loggedTsMs, maxFutureMs))) {
      throw new MalformedEvent("timestamp", "`ts` is " + ts.since(loggedTsMs) + " ms after its record's time");
    }
    if (ts.isAfter(Saturated.add(nowMs, maxFutureMs))) {
      throw new MalformedEvent("timestamp", "`ts` is " + ts.since(nowMs) + " ms ahead of the joiner's clock");
    }
  }
}
