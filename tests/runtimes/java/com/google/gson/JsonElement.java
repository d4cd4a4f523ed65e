package com.google.gson;

public class JsonElement {
    public JsonObject getAsJsonObject() { return null; }
    public String getAsString() { return null; }
    public int getAsInt() { return 0; }
    public float getAsFloat() { return 0; }
}
