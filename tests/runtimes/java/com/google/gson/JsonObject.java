package com.google.gson;

public class JsonObject extends JsonElement {
    public JsonElement get(String name) { return null; }
    public JsonObject getAsJsonObject(String name) { return null; }
    public JsonArray getAsJsonArray(String name) { return null; }
    public void add(String name, JsonElement value) {}
    public void addProperty(String name, String value) {}
}
