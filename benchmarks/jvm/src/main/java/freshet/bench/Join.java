package freshet.bench;

import java.io.IOException;
import java.util.Arrays;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.ArrayNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.ObjectNode;
import org.apache.flink.streaming.api.functions.co.KeyedCoProcessFunction;
import org.apache.flink.util.Collector;

/**
 * The join and nothing beside it: a positive at once, the other items of a request when its window
 * closes. Nothing is validated, deduplicated, sampled, counted or dead-lettered; at most 64 items.
 */
public final class Join extends KeyedCoProcessFunction<String, Event, Event, byte[]> {
  private static final long serialVersionUID = 1;
  private static final ObjectMapper JSON = new ObjectMapper();

  private final long windowMs;
  private transient ValueState<Waiting> state;

  Join(long windowMs) {
    this.windowMs = windowMs;
  }

  @Override
  public void open(OpenContext context) {
    state = getRuntimeContext().getState(new ValueStateDescriptor<>("waiting", Waiting.class));
  }

  @Override
  public void processElement1(Event features, Context context, Collector<byte[]> out)
      throws IOException {
    Waiting waiting = state.value();
    if (waiting == null) {
      waiting = new Waiting();
    }
    waiting.request = features.value;
    for (byte[] action : waiting.early) {
      positive(waiting, action, out);
    }
    waiting.early = new byte[0][];
    state.update(waiting);
    context.timerService().registerEventTimeTimer(features.tsMs + windowMs);
  }

  @Override
  public void processElement2(Event action, Context context, Collector<byte[]> out)
      throws IOException {
    Waiting waiting = state.value();
    if (waiting == null) {
      waiting = new Waiting();
      context.timerService().registerEventTimeTimer(action.tsMs + windowMs);
    }
    if (waiting.request.length == 0) {
      waiting.early = Arrays.copyOf(waiting.early, waiting.early.length + 1);
      waiting.early[waiting.early.length - 1] = action.value;
    } else {
      positive(waiting, action.value, out);
    }
    state.update(waiting);
  }

  @Override
  public void onTimer(long timestamp, OnTimerContext context, Collector<byte[]> out)
      throws IOException {
    Waiting waiting = state.value();
    if (waiting == null) {
      return;
    }
    if (waiting.request.length > 0) {
      ObjectNode request = (ObjectNode) JSON.readTree(waiting.request);
      if (timestamp < request.get("ts").longValue() + windowMs) {
        return; // the timer of an action that came first
      }
      negatives(waiting, request, out);
    }
    state.clear();
  }

  private static void positive(Waiting waiting, byte[] action, Collector<byte[]> out)
      throws IOException {
    ObjectNode request = (ObjectNode) JSON.readTree(waiting.request);
    JsonNode reaction = JSON.readTree(action);
    JsonNode items = request.remove("items");
    for (int position = 0; position < items.size(); position++) {
      boolean isIt = items.get(position).get("item_id").equals(reaction.get("item_id"));
      if (isIt && (waiting.left >> position & 1) == 0) {
        waiting.left |= 1L << position;
        request.putArray("items").add(items.get(position));
        request.put("label", 1).set("action_ts", reaction.get("ts"));
        out.collect(JSON.writeValueAsBytes(request));
        return;
      }
    }
  }

  private static void negatives(Waiting waiting, ObjectNode request, Collector<byte[]> out)
      throws IOException {
    JsonNode items = request.remove("items");
    ArrayNode rest = request.put("label", 0).putArray("items");
    for (int position = 0; position < items.size(); position++) {
      if ((waiting.left >> position & 1) == 0) {
        rest.add(items.get(position));
      }
    }
    if (!rest.isEmpty()) {
      out.collect(JSON.writeValueAsBytes(request));
    }
  }
}
