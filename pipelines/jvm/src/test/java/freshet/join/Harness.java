package freshet.join;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.Proxy;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import org.apache.flink.api.common.eventtime.Watermark;
import org.apache.flink.api.common.eventtime.WatermarkOutput;
import org.apache.flink.api.connector.source.SourceReader;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.file.src.reader.BulkFormat;
import org.apache.flink.connector.file.src.util.CheckpointedPosition;
import org.apache.flink.core.fs.Path;
import org.apache.flink.runtime.state.KeyGroupRangeAssignment;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.ArrayNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.ObjectNode;
import org.apache.flink.util.clock.ManualClock;

/**
 * Drives the parts of the engine for the tests in Python ({@code tests/pipelines/join/jvm.py}): a call is a line of JSON, and
 * so is its answer. Bytes are in base64.
 */
public final class Harness {
  private final ObjectMapper mapper = new ObjectMapper();
  private final List<Job> jobs = new ArrayList<>();
  private final Json json = new Json();

  private static final class Job {
    private final Settings settings;
    private final Pool pool;
    private final Intake intake;
    private final JoinLogic logic;
    private final Messages messages;
    private final Letters letters;
    private final FirstLook features;
    private final FirstLook actions;

    private Job(Settings settings) {
      this.settings = settings;
      Schema schema = new Schema(settings);
      intake = new Intake(settings, schema);
      pool = settings.joiner().pool() == null ? null : new Pool(settings.joiner().pool().size());
      logic = new JoinLogic(settings, schema, pool);
      messages = new Messages(settings);
      letters = new Letters(settings);
      features = new FirstLook(false, settings);
      actions = new FirstLook(true, settings);
    }
  }

  /** Answers until its input ends. */
  public static void main(String[] arguments) throws IOException {
    Harness harness = new Harness();
    PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      out.println(harness.mapper.writeValueAsString(harness.answer(harness.mapper.readTree(line))));
    }
  }

  private ObjectNode answer(JsonNode call) throws IOException {
    ObjectNode answer = mapper.createObjectNode();
    try {
      switch (call.get("call").asText()) {
        case "job" -> answer.put("job", addJob(call.get("settings").asText()));
        case "json" -> readJson(call.get("data").binaryValue(), answer);
        case "state" -> answer.put("state", StateCodec.encode(StateCodec.decode(call.get("data").binaryValue())));
        case "watermarks" -> watermarks(call, answer.putArray("output"));
        case "source" -> source(job(call), call, answer);
        case "event" -> event(job(call), call, answer);
        case "letter" -> letter(job(call), call, answer);
        case "pool" -> exchangePool(job(call).pool, call, answer);
        case "files" -> files(job(call), call, answer);
        case "splits" -> splits(call.get("splits"), answer.putArray("read"));
        case "ends" -> ends(call, answer.putArray("times"));
        case "waiting" -> count(call, answer);
        case "saved times" -> saveTimes(call, answer);
        default -> timer(job(call), call, answer);
      }
    } catch (JsonException problem) {
      answer.put("problem", problem.getMessage());
    } catch (MalformedEvent refusal) {
      answer.put("reason", refusal.reason()).put("detail", refusal.detail());
    } catch (RuntimeException | IOException failure) {
      answer.put("failure", failure.toString());
    }
    return answer;
  }

  private int addJob(String settings) {
    jobs.add(new Job(Settings.parse(settings)));
    return jobs.size() - 1;
  }

  private Job job(JsonNode call) {
    return jobs.get(call.get("job").asInt());
  }

  private void readJson(byte[] data, ObjectNode answer) throws JsonException, MalformedEvent {
    json.parse(data);
    long bytes = JsonLength.of(json, 0, 0);
    if (bytes > JsonLength.GROWTH * data.length) {
      throw new IllegalStateException("a document of " + data.length + " bytes has grown to " + bytes);
    }
    answer.put("bytes", bytes);
  }

  private static void source(Job job, JsonNode call, ObjectNode answer) throws IOException {
    Arrival arrival = arrival(call);
    KeyedArrival read = (arrival.isAction() ? job.actions : job.features).at(arrival, call.get("now").asLong());
    answer.put("id", read.id()).put("event_time", read.eventTimeMs());
  }

  /** Each moment: what the clock shows, and the time of an event; without one, Flink asks for the watermark. */
  private static void watermarks(JsonNode call, ArrayNode output) {
    ManualClock clock = new ManualClock();
    Watermarks watermarks = new Watermarks(call.get("out_of_order").asLong(), call.get("idle").asLong(), clock);
    WatermarkOutput out = output(output);
    for (JsonNode moment : call.get("moments")) {
      clock.advanceTime(Duration.ofMillis(moment.get(0).asLong() - clock.relativeTimeMillis()));
      if (moment.has(1)) {
        long timeMs = moment.get(1).asLong(KeyedArrival.NO_TIME);
        watermarks.onEvent(new KeyedArrival("", null, timeMs, moment.has(2) ? moment.get(2).asLong() : Long.MAX_VALUE), timeMs, out);
      } else {
        watermarks.onPeriodicEmit(out);
      }
    }
  }

  private static WatermarkOutput output(ArrayNode output) {
    return new WatermarkOutput() {
      @Override
      public void emitWatermark(Watermark watermark) {
        output.add(watermark.getTimestamp());
      }

      @Override
      public void markIdle() {
        output.add("idle");
      }

      @Override
      public void markActive() {
        output.add("active");
      }
    };
  }

  private static void event(Job job, JsonNode call, ObjectNode answer) throws IOException, MalformedEvent {
    Arrival arrival = arrival(call);
    long nowMs = call.get("now").asLong();
    long watermarkMs = call.get("watermark").asLong();
    long readMs = call.get("read").asLong();
    State before = state(call);
    if (arrival.isAction()) {
      Action action = job.intake.readAction(arrival, readMs);
      if (!action.isHeartbeat()) {
        write(job, job.logic.onAction(before, action, arrival, () -> watermarkMs, nowMs), answer);
      }
    } else {
      Request request = job.intake.readRequest(arrival, readMs);
      if (request.items().length > 0) {
        write(job, job.logic.onRequest(before, request, arrival, watermarkMs, nowMs), answer);
      }
    }
  }

  private static void timer(Job job, JsonNode call, ObjectNode answer) throws IOException {
    write(job, job.logic.onTimer(state(call), call.get("timestamp").asLong(), call.get("now").asLong()), answer);
  }

  private static void letter(Job job, JsonNode call, ObjectNode answer) throws IOException {
    String reason = call.get("reason").asText();
    put(job.letters.write(new Output.DeadLetter(arrival(call), reason, call.get("detail").asText())), answer);
  }

  /** Takes up what others had remembered, and tells what it remembers now. */
  private static void exchangePool(Pool pool, JsonNode call, ObjectNode answer) throws IOException {
    List<Pooled> items = new ArrayList<>();
    for (JsonNode piece : call.get("pieces")) {
      items.addAll(PoolCodec.decode(piece.binaryValue()));
    }
    pool.restore(items);
    ArrayNode ids = answer.putArray("items");
    pool.items().forEach(item -> ids.add(item.itemId()));
    ArrayNode pieces = answer.putArray("pieces");
    PoolCodec.encode(pool.items()).forEach(pieces::add);
  }

  /** Counts as subtasks do: those of {@code states} from others, then the changes of the keys that are theirs. */
  private static void count(JsonNode call, ObjectNode answer) throws IOException {
    int parallelism = call.get("parallelism").asInt();
    ArrayNode counts = answer.putArray("counts");
    ArrayNode states = answer.putArray("states");
    for (int subtask = 0; subtask < parallelism; subtask++) {
      WaitingCounts waiting = new WaitingCounts(128, parallelism, subtask);
      for (JsonNode state : call.get("states")) {
        waiting.restore(state.binaryValue());
      }
      for (JsonNode change : call.get("changes")) {
        String key = change.get(0).asText();
        if (KeyGroupRangeAssignment.assignKeyToParallelOperator(key, 128, parallelism) == subtask) {
          waiting.change(key, change.get(1).asInt(), change.get(2).asInt());
        }
      }
      counts.addArray().add(waiting.requests()).add(waiting.bytes());
      states.add(waiting.encode());
    }
  }

  /**
   * What subtasks take for the event time of each key, once they have restored {@code states} from others and before any
   * watermark; then what they save, each with its own of {@code watermarks}.
   */
  private static void saveTimes(JsonNode call, ObjectNode answer) throws IOException {
    int parallelism = call.get("watermarks").size();
    ArrayNode times = answer.putArray("times");
    ArrayNode states = answer.putArray("states");
    List<SavedTimes> subtasks = new ArrayList<>();
    for (int subtask = 0; subtask < parallelism; subtask++) {
      subtasks.add(new SavedTimes(128, parallelism, subtask));
      for (JsonNode state : call.get("states")) {
        subtasks.get(subtask).restore(state.binaryValue());
      }
    }
    for (JsonNode key : call.get("keys")) {
      int subtask = KeyGroupRangeAssignment.assignKeyToParallelOperator(key.asText(), 128, parallelism);
      times.addArray().add(subtask).add(subtasks.get(subtask).eventTimeMs(key.asText(), call.get("now").asLong()));
    }
    for (int subtask = 0; subtask < parallelism; subtask++) {
      states.add(subtasks.get(subtask).encode(call.get("watermarks").get(subtask).asLong()));
    }
  }

  /** The files of a folder in their order, each read from the event on that {@code from} says. */
  private static void files(Job job, JsonNode call, ObjectNode answer) throws IOException {
    EventFormat format = new EventFormat(job.features, job.settings);
    EventFile.Serializer serializer = new EventFile.Serializer();
    ArrayNode files = answer.putArray("files");
    for (EventFile file : list(call.get("folder").asText(), format)) {
      EventFile begun =
          file.updateWithCheckpointedPosition(
              new CheckpointedPosition(CheckpointedPosition.NO_OFFSET, call.get("from").asLong()));
      EventFile restored = serializer.deserialize(serializer.getVersion(), serializer.serialize(begun));
      ObjectNode each = files.addObject().put("file", restored.path().toString()).put("most", restored.mostMs());
      ArrayNode events = each.putArray("events");
      try (BulkFormat.Reader<KeyedArrival> reader = format.restoreReader(new Configuration(), restored)) {
        read(reader, events);
      }
    }
  }

  /** The order in which a reader that is given several files at once reads them. */
  private static void splits(JsonNode given, ArrayNode read) {
    List<EventFile> files = new ArrayList<>();
    given.forEach(id -> files.add(new EventFile(id.asText(), new Path("/" + id.asText()), 1, Long.MAX_VALUE)));
    SourceReader<KeyedArrival, EventFile> reader =
        played(SourceReader.class, splits -> ((List<?>) splits).forEach(each -> read.add(((EventFile) each).splitId())));
    new HeldBack.Reader<>(reader).addSplits(files);
  }

  /** An object all of whose methods give their first argument to {@code told}. */
  @SuppressWarnings("unchecked")
  private static <T> T played(Class<? super T> kind, Consumer<Object> told) {
    return (T)
        Proxy.newProxyInstance(
            Harness.class.getClassLoader(),
            new Class<?>[] {kind},
            (self, method, arguments) -> {
              told.accept(arguments[0]);
              return null;
            });
  }

  private static List<EventFile> list(String folder, EventFormat format) throws IOException {
    try {
      return new FileOrder(folder, format).list();
    } catch (InterruptedException end) {
      throw new IllegalStateException(end);
    }
  }

  private static void read(BulkFormat.Reader<KeyedArrival> reader, ArrayNode events) throws IOException {
    for (var batch = reader.readBatch(); batch != null; batch = reader.readBatch()) {
      for (var next = batch.next(); next != null; next = batch.next()) {
        Arrival arrival = next.getRecord().arrival();
        events
            .addArray()
            .add(arrival.key())
            .add(arrival.partition())
            .add(arrival.offset())
            .add(arrival.loggedTsMs())
            .add(next.getRecord().eventTimeMs())
            .add(arrival.value());
      }
      batch.releaseBatch();
    }
  }

  /** Event time at each step: a watermark, or the end of a reader, or null, when all is restored. */
  private static void ends(JsonNode call, ArrayNode times) throws IOException {
    InputEnds ends = new InputEnds(call.get("out_of_order").asLong());
    for (JsonNode step : call.get("steps")) {
      if (step.isArray()) {
        ends.end(
            new InputEnd(step.get(0).asBoolean(), step.get(1).asInt(), step.get(2).asInt(), step.get(3).asLong()));
      } else if (step.isNull()) {
        byte[] known = ends.encode();
        ends = new InputEnds(call.get("out_of_order").asLong());
        ends.restore(known);
      } else {
        times.add(ends.timeMs(step.asLong()));
      }
    }
  }

  private static Arrival arrival(JsonNode call) throws IOException {
    JsonNode arrival = call.get("arrival");
    return new Arrival(
        arrival.get("is_action").asBoolean(),
        arrival.get("key").binaryValue(),
        arrival.get("value").binaryValue(),
        arrival.get("partition").asInt(),
        arrival.get("offset").asLong(),
        arrival.get("logged_ts_ms").asLong());
  }

  private static State state(JsonNode call) throws IOException {
    byte[] data = call.get("state").binaryValue();
    return data == null ? null : StateCodec.decode(data);
  }

  private static void write(Job job, Step step, ObjectNode answer) {
    answer.put("state", step.state() == null ? null : StateCodec.encode(step.state()));
    if (step.timerMs() != Step.NO_TIMER) {
      answer.put("timer", step.timerMs());
    }
    ArrayNode output = answer.putArray("output");
    for (Output each : step.output()) {
      if (each instanceof Output.Ready ready) {
        job.messages.write(ready).forEach(message -> put(message, output.addObject()));
      } else {
        put(job.letters.write((Output.DeadLetter) each), output.addObject());
      }
    }
    ObjectNode counts = answer.putObject("counts");
    for (Count count : Count.values()) {
      if (step.count(count) > 0) {
        counts.put(count.metric().replace("freshet_joiner_", ""), step.count(count));
      }
    }
  }

  private static void put(Message message, ObjectNode answer) {
    answer.put("key", message.key).put("value", message.value).put("topic", message.topic);
    answer.put("partition", message.partition).put("offset", message.offset);
    answer.put("reason", message.reason).put("detail", message.detail);
  }
}
