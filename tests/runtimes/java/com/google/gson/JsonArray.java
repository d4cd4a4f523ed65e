package com.google.gson;

public class JsonArray extends JsonElement implements Iterable<JsonElement> {
    public java.util.Iterator<JsonElement> iterator() { return null; }
    public void add(Number value) {}
}
