package freshet.join;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonProcessingException;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;

/**
 * A job file as JSON, checked and with every default filled in by {@code pipelines/settings.py}: what the joiner needs of
 * it.
 */
record Settings(
    String name, long seed, Kafka kafka, List<Feature> features, List<Cross> crosses, List<Label> labels, Joiner joiner) {

  /** Where the broker is; {@code client} are properties of every client. */
  record Kafka(
      String bootstrap,
      String features,
      String actions,
      String examples,
      String deadLetters,
      int maxMessageBytes,
      long transactionTimeoutMs,
      Map<String, String> client) {}

  /** A feature of the schema; {@code origin} is {@code user}, {@code context} or {@code item}. */
  record Feature(String name, String origin, String key, Type type, boolean isMany) {}

  /** What a value has to be. */
  enum Type {
    INT,
    STRING,
    FLOAT
  }

  /** A cross and the features that it is of. */
  record Cross(String name, List<String> of) {}

  /** Negatives drawn from recent items; {@code label}: the place of the one whose positives get them. */
  record PoolSettings(int negatives, int size, int label) {}

  /** What is read from its beginning to its end; of topics {@code features} and {@code actions} are null. */
  record Input(
      String features,
      String actions,
      boolean isParquet,
      long aheadMs,
      Map<Integer, Long> featuresEnds,
      Map<Integer, Long> actionsEnds) {
    boolean isFiles() {
      return features != null;
    }
  }

  /**
   * Sampling, bounds and event time; {@code input} null: the topics, for ever; {@code maxPerRequest} 0: no cap; {@code pool}
   * null: none.
   */
  record Joiner(
      Input input,
      Rates rates,
      int maxPerRequest,
      PoolSettings pool,
      long outOfOrderMs,
      long idleMs,
      long maxPastMs,
      long maxFutureMs,
      int maxEventBytes,
      long checkpointIntervalMs,
      int parallelism) {}

  /** Group and transactions are of this name: a backfill keeps off those of the live joiner. */
  String member() {
    return name + (joiner.input() == null ? "-joiner" : "-backfill");
  }

  static Settings parse(String json) {
    try {
      return of(new ObjectMapper().readTree(json));
    } catch (JsonProcessingException e) {
      throw new IllegalArgumentException("the job's settings are no JSON", e);
    }
  }

  private static Settings of(JsonNode job) {
    JsonNode schema = job.get("schema");
    List<Feature> features = new ArrayList<>();
    schema.get("features").properties().forEach(each -> features.add(feature(each.getKey(), each.getValue())));
    List<Cross> crosses = new ArrayList<>();
    schema.get("crosses").properties().forEach(
        each -> crosses.add(new Cross(each.getKey(), texts(each.getValue().get("of")))));
    List<Label> labels = new ArrayList<>();
    schema.get("labels").properties().forEach(
        each -> labels.add(label(labels.size(), each.getKey(), each.getValue())));
    return new Settings(
        job.get("name").asText(),
        job.get("seed").asLong(),
        kafka(job.get("kafka")),
        features,
        crosses,
        labels,
        joiner(job.get("joiner"), labels));
  }

  private static Feature feature(String name, JsonNode feature) {
    String[] source = feature.get("from").asText().split("\\.", 2);
    Type type = Type.valueOf(feature.get("type").asText().toUpperCase(Locale.ROOT));
    return new Feature(name, source[0], source[1], type, feature.get("many").asBoolean());
  }

  private static Label label(int index, String name, JsonNode label) {
    boolean isNumber = label.get("kind").asText().equals("number");
    Label.Take take = Label.Take.valueOf(label.get("take").asText().toUpperCase(Locale.ROOT));
    JsonNode otherwise = label.get("otherwise");
    long windowMs = ms(label.get("window_s"));
    return new Label(
        index,
        name,
        Label.id(name),
        texts(label.get("action")),
        isNumber,
        text(label.get("when")),
        isNumber ? text(label.get("value")) : null,
        isNumber ? take : Label.Take.FIRST,
        isNumber ? (otherwise.isNull() ? null : (float) otherwise.asDouble() + 0.0f) : Float.valueOf(0.0f),
        windowMs,
        windowMs + (take == Label.Take.FIRST ? ms(label.get("late_s")) : 0));
  }

  private static Kafka kafka(JsonNode kafka) {
    JsonNode topics = kafka.get("topics");
    Map<String, String> client = new LinkedHashMap<>();
    kafka.get("client").properties().forEach(each -> client.put(each.getKey(), each.getValue().asText()));
    return new Kafka(
        kafka.get("bootstrap").asText(),
        topics.get("features").asText(),
        topics.get("actions").asText(),
        topics.get("examples").asText(),
        topics.get("dead_letters").asText(),
        kafka.get("max_message_bytes").asInt(),
        ms(kafka.get("transaction_timeout_s")),
        client);
  }

  private static Joiner joiner(JsonNode joiner, List<Label> labels) {
    return new Joiner(
        input(joiner.get("input")),
        rates(joiner.get("negatives")),
        joiner.get("negatives").get("max_per_request").asInt(0),
        pool(joiner.get("pool"), labels),
        ms(joiner.get("out_of_order_s")),
        ms(joiner.get("idle_s")),
        ms(joiner.get("max_past_s")),
        ms(joiner.get("max_future_s")),
        joiner.get("max_event_bytes").asInt(),
        joiner.get("checkpoint_interval_ms").asLong(),
        joiner.get("parallelism").asInt());
  }

  private static Input input(JsonNode input) {
    if (input.isNull()) {
      return null;
    }
    return new Input(
        text(input.get("features")),
        text(input.get("actions")),
        input.get("format").asText().equals("parquet"),
        ms(input.get("ahead_s")),
        ends(input.get("ends"), "features"),
        ends(input.get("ends"), "actions"));
  }

  /** By partition; null: nobody has looked. */
  private static Map<Integer, Long> ends(JsonNode ends, String input) {
    if (!ends.has(input)) {
      return null;
    }
    Map<Integer, Long> offsets = new HashMap<>();
    ends.get(input).forEach(each -> offsets.put(offsets.size(), each.asLong()));
    return offsets;
  }

  private static PoolSettings pool(JsonNode pool, List<Label> labels) {
    if (pool.isNull()) {
      return null;
    }
    String name = text(pool.get("label"));
    int label = name == null ? 0 : labels.stream().map(Label::name).toList().indexOf(name);
    return new PoolSettings(pool.get("negatives").asInt(), pool.get("size").asInt(), label);
  }

  private static Rates rates(JsonNode negatives) {
    List<Rates.Field> fields = new ArrayList<>();
    negatives.get("by").properties().forEach(
        field -> {
          Map<String, Double> rates = new HashMap<>();
          field.getValue().properties().forEach(each -> rates.put(each.getKey(), each.getValue().asDouble()));
          fields.add(Rates.Field.of(field.getKey(), rates));
        });
    return new Rates(negatives.get("rate").asDouble(), fields);
  }

  /** Rounded as Python rounds: halves to the even neighbour. */
  private static long ms(JsonNode seconds) {
    return (long) Math.rint(seconds.asDouble() * 1000);
  }

  private static String text(JsonNode textOrNull) {
    return textOrNull.isNull() ? null : textOrNull.asText();
  }

  private static List<String> texts(JsonNode textOrList) {
    if (!textOrList.isArray()) {
      return List.of(textOrList.asText());
    }
    List<String> texts = new ArrayList<>();
    textOrList.forEach(each -> texts.add(each.asText()));
    return texts;
  }
}
