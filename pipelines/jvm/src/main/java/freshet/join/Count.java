package freshet.join;

import java.util.Locale;

/** What the metrics {@code freshet_joiner_…} count. */
enum Count {
  IMPRESSIONS,
  EXAMPLES,
  POSITIVES,
  NEGATIVES,
  CORRECTIONS,
  POOLED,
  SAMPLED_AWAY,
  UNLABELLED,
  DUPLICATES,
  ORPHANS,
  MALFORMED,
  LATE,
  UNUSED,
  RULE_ERRORS,
  LEFT_OUT;

  String metric() {
    return "freshet_joiner_" + name().toLowerCase(Locale.ROOT);
  }
}
