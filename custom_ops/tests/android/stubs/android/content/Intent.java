package android.content;

/** A type in a signature. */
public class Intent {}
