package freshet.join;

import java.util.List;

/** What an action makes of each label. */
final class Rules {
  /** {@code values}, indexed as the labels that were asked; NaN: its rule does not accept the action. */
  record Reading(float[] values) {}

  Reading read(List<Label> labels, Action action) {
    // -0 and 0 are one number, and must be the same bytes.
    float number = (float) action.value() + 0.0f;
    float[] values = new float[labels.size()];
    for (int place = 0; place < values.length; place++) {
      values[place] = labels.get(place).isNumber() ? number : 1.0f;
    }
    return new Reading(values);
  }
}
