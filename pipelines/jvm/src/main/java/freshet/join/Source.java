package freshet.join;

import java.nio.charset.StandardCharsets;

/** Where the value of a feature stands among the values of its origin, and what it has to be. */
record Source(int feature, boolean isOfUser, String key, byte[] keyBytes, Settings.Type type, boolean isMany) {

  static Source of(int feature, Settings.Feature settings) {
    byte[] key = settings.key().getBytes(StandardCharsets.UTF_8);
    return new Source(feature, settings.origin().equals("user"), settings.key(), key, settings.type(), settings.isMany());
  }
}
