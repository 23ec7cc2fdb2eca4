package android.os;

/** A type in a signature. */
public class Bundle {}
