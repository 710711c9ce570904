package freshet.join;

import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeutils.base.array.BytePrimitiveArraySerializer;
import org.apache.flink.metrics.Counter;
import org.apache.flink.metrics.MetricGroup;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;
import org.apache.flink.util.OutputTag;

/** The join as a Flink operator: arrivals in, keyed state and timers, messages out. The rules are in {@link JoinLogic}. */
final class JoinFunction extends KeyedProcessFunction<String, KeyedArrival, Message> {
  private static final long serialVersionUID = 1L;

  private final String settingsJson;
  private final OutputTag<Message> deadLetters;
  private transient Intake intake;
  private transient JoinLogic logic;
  private transient Messages messages;
  private transient Letters letters;
  private transient ValueState<byte[]> request;
  private transient Counter[] counters;

  JoinFunction(String settingsJson, OutputTag<Message> deadLetters) {
    this.settingsJson = settingsJson;
    this.deadLetters = deadLetters;
  }

  @Override
  public void open(OpenContext context) {
    Settings settings = Settings.parse(settingsJson);
    Schema schema = new Schema(settings);
    intake = new Intake(settings, schema);
    logic = new JoinLogic(settings, schema);
    messages = new Messages(settings);
    letters = new Letters(settings);
    request =
        getRuntimeContext().getState(new ValueStateDescriptor<>("request", BytePrimitiveArraySerializer.INSTANCE));
    MetricGroup metrics = getRuntimeContext().getMetricGroup();
    counters = new Counter[Count.values().length];
    for (Count count : Count.values()) {
      counters[count.ordinal()] = metrics.counter(count.metric());
    }
  }

  @Override
  public void processElement(KeyedArrival keyed, Context context, Collector<Message> out) throws Exception {
    Arrival arrival = keyed.arrival();
    long nowMs = System.currentTimeMillis();
    try {
      if (arrival.isAction()) {
        onAction(intake.readAction(arrival, nowMs), arrival, nowMs, context, out);
      } else {
        onRequest(intake.readRequest(arrival, nowMs), arrival, nowMs, context, out);
      }
    } catch (MalformedEvent refusal) {
      counters[Count.MALFORMED.ordinal()].inc();
      context.output(deadLetters, letters.write(new Output.DeadLetter(arrival, refusal.reason(), refusal.detail())));
    }
  }

  private void onAction(Action action, Arrival arrival, long nowMs, Context context, Collector<Message> out)
      throws Exception {
    // A heartbeat has done its work when the source read it.
    if (!action.isHeartbeat()) {
      State before = read();
      apply(before, logic.onAction(before, action, arrival, context.timerService()::currentWatermark, nowMs), context, out);
    }
  }

  private void onRequest(Request event, Arrival arrival, long nowMs, Context context, Collector<Message> out)
      throws Exception {
    if (event.items().length > 0) {
      State before = read();
      long watermarkMs = context.timerService().currentWatermark();
      apply(before, logic.onRequest(before, event, arrival, watermarkMs, nowMs), context, out);
    }
  }

  @Override
  public void onTimer(long timestampMs, OnTimerContext context, Collector<Message> out) throws Exception {
    // When a bounded input ends, timers fire whose time has not come: what waits goes on waiting.
    if (context.timerService().currentWatermark() != Long.MAX_VALUE) {
      State before = read();
      apply(before, logic.onTimer(before, timestampMs, System.currentTimeMillis()), context, out);
    }
  }

  private State read() throws Exception {
    byte[] data = request.value();
    return data == null ? null : StateCodec.decode(data);
  }

  private void apply(State before, Step step, Context context, Collector<Message> out) throws Exception {
    if (step.state() == null) {
      if (before != null) {
        request.clear();
      }
    } else if (step.state() != before) {
      request.update(StateCodec.encode(step.state()));
    }
    if (step.timerMs() != Step.NO_TIMER) {
      context.timerService().registerEventTimeTimer(step.timerMs());
    }
    for (Count count : Count.values()) {
      counters[count.ordinal()].inc(step.count(count));
    }
    for (Output output : step.output()) {
      if (output instanceof Output.Ready ready) {
        messages.write(ready).forEach(out::collect);
      } else {
        context.output(deadLetters, letters.write((Output.DeadLetter) output));
      }
    }
  }
}
