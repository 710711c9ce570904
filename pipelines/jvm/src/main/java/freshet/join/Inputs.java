package freshet.join;

import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.connector.source.Source;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.KafkaSourceBuilder;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.TopicPartition;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/** What the joiner reads: both topics for ever, or, for a backfill, topics or files from their beginning to their end. */
final class Inputs {
  /** How often readers hear how far the others are: what one reads in between comes on top of {@code ahead_s}. */
  private static final Duration ALIGNMENT_INTERVAL = Duration.ofMillis(100);

  private final StreamExecutionEnvironment env;
  private final Settings settings;
  private final Settings.Input input;
  private final Properties client;

  Inputs(StreamExecutionEnvironment env, Settings settings, Properties client) {
    this.env = env;
    this.settings = settings;
    this.client = client;
    input = settings.joiner().input();
  }

  DataStream<KeyedArrival> read() {
    return stream("features", settings.kafka().features(), false).union(stream("actions", settings.kafka().actions(), true));
  }

  private DataStream<KeyedArrival> stream(String name, String topic, boolean isAction) {
    FirstLook look = new FirstLook(isAction, settings);
    if (input == null) {
      return env.fromSource(records(topic, look).build(), watermarks(settings.joiner().idleMs()), name).uid(name);
    }
    // Nobody is idle: else those who are slow would be late. All wait for each other, so that little waits for the join.
    WatermarkStrategy<KeyedArrival> aligned =
        watermarks(Long.MAX_VALUE).withWatermarkAlignment("inputs", Duration.ofMillis(input.aheadMs()), ALIGNMENT_INTERVAL);
    Source<KeyedArrival, ?, ?> source =
        input.isFiles()
            ? new EventFiles(isAction ? input.actions() : input.features(), new EventFormat(look, settings))
            : records(topic, look).setBounded(ends(topic, isAction)).build();
    return env.fromSource(new HeldBack<>(source), aligned, name, ArrivalType.INFORMATION)
        .uid(name)
        .transform(name + "-end", ArrivalType.INFORMATION, new EndTeller(isAction))
        .uid(name + "-end");
  }

  private OffsetsInitializer ends(String topic, boolean isAction) {
    Map<Integer, Long> ends = isAction ? input.actionsEnds() : input.featuresEnds();
    if (ends == null) {
      return OffsetsInitializer.latest();
    }
    Map<TopicPartition, Long> offsets = new HashMap<>();
    ends.forEach((partition, end) -> offsets.put(new TopicPartition(topic, partition), end));
    return OffsetsInitializer.offsets(offsets);
  }

  private KafkaSourceBuilder<KeyedArrival> records(String topic, FirstLook look) {
    return KafkaSource.<KeyedArrival>builder()
        .setProperties(client)
        .setBootstrapServers(settings.kafka().bootstrap())
        .setTopics(topic)
        .setGroupId(settings.member())
        .setStartingOffsets(OffsetsInitializer.earliest())
        .setProperty("isolation.level", "read_committed")
        .setProperty("max.partition.fetch.bytes", Integer.toString(settings.kafka().maxMessageBytes()))
        .setDeserializer(new ArrivalReader(look));
  }

  private WatermarkStrategy<KeyedArrival> watermarks(long idleMs) {
    long outOfOrderMs = settings.joiner().outOfOrderMs();
    return WatermarkStrategy.<KeyedArrival>forGenerator(
            context -> new Watermarks(outOfOrderMs, idleMs, context.getInputActivityClock()))
        .withTimestampAssigner((event, recordTsMs) -> event.eventTimeMs());
  }
}
