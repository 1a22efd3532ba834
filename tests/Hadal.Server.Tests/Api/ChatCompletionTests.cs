using System.Net;
using System.Text.Json;
using Hadal.Inference.Serving;

namespace Hadal.Server.Tests.Api;

/// <summary>What goes over the wire, byte for byte where clients depend on it.</summary>
public sealed class ChatCompletionTests
{
    const string Hello = """{"model":"deepseek-chat","messages":[{"role":"user","content":"Hi"}]""";
    const string Think = """{"model":"deepseek-reasoner","messages":[{"role":"user","content":"Hi"}]""";
    const string WeatherTool = """ "tools":[{"type":"function","function":{"name":"get_weather","description":"Weather of a city","parameters":{"type":"object","properties":{"city":{"type":"string"}}}}}] """;

    [Theory]
    [InlineData("/chat/completions")]
    [InlineData("/v1/chat/completions")]
    [InlineData("/beta/chat/completions")]
    public async Task A_whole_answer_has_the_originals_shape(string path)
    {
        var engine = new ApiEngine { Cached = 1 };
        await using ApiHost host = await ApiHost.StartAsync(engine);
        JsonElement answer = await host.PostAsync(path, Hello + "}");
        Assert.Equal("chat.completion", answer.GetProperty("object").GetString());
        Assert.Equal("deepseek-chat", answer.GetProperty("model").GetString());
        JsonElement choice = answer.GetProperty("choices")[0];
        Assert.Equal("The answer is 42.", choice.GetProperty("message").GetProperty("content").GetString());
        Assert.False(choice.GetProperty("message").TryGetProperty("reasoning_content", out _));
        Assert.Equal("stop", choice.GetProperty("finish_reason").GetString());
        Assert.Equal(JsonValueKind.Null, choice.GetProperty("logprobs").ValueKind);
        JsonElement usage = answer.GetProperty("usage");
        int prompt = usage.GetProperty("prompt_tokens").GetInt32();
        Assert.Equal(engine.Requests.Last().Prompt.Length, prompt);
        Assert.Equal(1, usage.GetProperty("prompt_cache_hit_tokens").GetInt32());
        Assert.Equal(prompt - 1, usage.GetProperty("prompt_cache_miss_tokens").GetInt32());
        Assert.Equal(prompt + usage.GetProperty("completion_tokens").GetInt32(), usage.GetProperty("total_tokens").GetInt32());
        Assert.Equal("<｜begin▁of▁sentence｜><｜User｜>Hi<｜Assistant｜>", engine.LastPrompt);
        Assert.Equal(4096, engine.Requests.Last().MaxNewTokens);
        Assert.Equal(1, engine.Requests.Last().Sampling.Temperature);
    }

    [Implements("API", "Reasoning is sent as reasoning_content beside content, before it in a stream; usage counts its tokens")]
    [Fact]
    public async Task The_reasoner_sends_its_thought_apart_whole_and_streamed()
    {
        var engine = new ApiEngine();
        await using ApiHost host = await ApiHost.StartAsync(engine);
        JsonElement answer = await host.PostAsync("/v1/chat/completions", Think + "}");
        JsonElement message = answer.GetProperty("choices")[0].GetProperty("message");
        Assert.Equal("Let me think.", message.GetProperty("reasoning_content").GetString());
        Assert.Equal("The answer is 42.", message.GetProperty("content").GetString());
        int reasoning = answer.GetProperty("usage").GetProperty("completion_tokens_details").GetProperty("reasoning_tokens").GetInt32();
        Assert.Equal(ApiEngine.Tokenizer.Encode("Let me think.\n</think>", allowSpecial: true).Length, reasoning);
        Assert.Equal(0.6, engine.Requests.Last().Sampling.Temperature);

        List<JsonElement> events = await host.StreamAsync("/v1/chat/completions", Think + ""","stream":true,"stream_options":{"include_usage":true}}""");
        Assert.Equal("Let me think.", ApiHost.Joined(events, "reasoning_content"));
        Assert.Equal("The answer is 42.", ApiHost.Joined(events, "content"));
        int lastThought = events.FindLastIndex(e => e.GetProperty("choices").GetArrayLength() > 0 && e.GetProperty("choices")[0].GetProperty("delta").TryGetProperty("reasoning_content", out JsonElement t) && t.GetString() != "");
        int firstContent = events.FindIndex(e => e.GetProperty("choices").GetArrayLength() > 0 && e.GetProperty("choices")[0].GetProperty("delta").TryGetProperty("content", out JsonElement t) && t.ValueKind == JsonValueKind.String && t.GetString() != "");
        Assert.True(lastThought < firstContent);
        Assert.Equal(0, events[^1].GetProperty("choices").GetArrayLength());
        Assert.Equal(reasoning, events[^1].GetProperty("usage").GetProperty("completion_tokens_details").GetProperty("reasoning_tokens").GetInt32());
        Assert.All(events[..^1], e => Assert.Equal(JsonValueKind.Null, e.GetProperty("usage").ValueKind));
        Assert.Single(events.Select(e => e.GetProperty("id").GetString()).Distinct(StringComparer.Ordinal));
    }

    [Fact]
    public async Task Reasoning_sent_back_is_left_out_of_the_prompt_and_refused_when_strict()
    {
        const string Body = """{"model":"deepseek-reasoner","messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Yes","reasoning_content":"secret thought"},{"role":"user","content":"And?"}]}""";
        var engine = new ApiEngine();
        await using (ApiHost host = await ApiHost.StartAsync(engine))
        {
            await host.PostAsync("/v1/chat/completions", Body);
            Assert.DoesNotContain("secret", engine.LastPrompt, StringComparison.Ordinal);
        }

        await using ApiHost strict = await ApiHost.StartAsync(engine, options => options with { StrictDeepSeek = true });
        (HttpStatusCode status, string message, string? parameter, _) = await strict.RefusedAsync("/v1/chat/completions", Body);
        Assert.Equal(HttpStatusCode.BadRequest, status);
        Assert.Equal("messages[1].reasoning_content", parameter);
        Assert.Contains("expected messages without", message, StringComparison.Ordinal);
        foreach (string extra in (string[])[""","logprobs":true}""", "," + WeatherTool + "}"])
            Assert.Equal(HttpStatusCode.BadRequest, (await strict.RefusedAsync("/v1/chat/completions", Think + extra)).Status);
        Assert.Equal(HttpStatusCode.BadRequest, (await strict.RefusedAsync("/beta/completions", """{"model":"deepseek-reasoner","prompt":"a"}""")).Status);
        Assert.Equal(HttpStatusCode.BadRequest, (await strict.RefusedAsync("/v1/chat/completions", Hello + ""","max_tokens":8193}""")).Status);
        Assert.Equal(HttpStatusCode.BadRequest, (await strict.RefusedAsync("/v1/chat/completions", Think + ""","tool_choice":"none",""" + WeatherTool + "}")).Status);
        const string Successive = """{"model":"deepseek-reasoner","messages":[{"role":"system","content":"s"},{"role":"user","content":"a"},{"role":"user","content":"b"}]}""";
        Assert.Contains("(messages[1] and messages[2] in your input)", (await strict.RefusedAsync("/v1/chat/completions", Successive)).Message, StringComparison.Ordinal);
        await strict.PostAsync("/v1/chat/completions", Successive.Replace("deepseek-reasoner", "deepseek-chat", StringComparison.Ordinal));
        await strict.PostAsync("/v1/chat/completions", Think + ""","temperature":1.9}""");
        Assert.Equal(0.6, engine.Requests.Last().Sampling.Temperature); // accepted and overlooked, as by the original
    }

    [Fact]
    public async Task Without_a_token_that_ends_a_thought_a_reasoners_JSON_begins_at_once()
    {
        var json = new System.Buffers.ArrayBufferWriter<byte>();
        ApiEngine.Tokenizer.Write(json);
        string file = Path.GetTempFileName();
        try
        {
            await File.WriteAllTextAsync(file, System.Text.Encoding.UTF8.GetString(json.WrittenSpan).Replace("</think>", "<｜no▁thought｜>", StringComparison.Ordinal));
            var engine = new ApiEngine(tokenizer: Hadal.Text.Tokenizer.Load(file)) { Reply = _ => "{\"a\": 1}" };
            await using ApiHost host = await ApiHost.StartAsync(engine);
            JsonElement message = (await host.PostAsync("/v1/chat/completions", Think + ""","response_format":{"type":"json_object"}}""")).GetProperty("choices")[0].GetProperty("message");
            Assert.Equal(("{\"a\": 1}", ""), (message.GetProperty("content").GetString(), message.GetProperty("reasoning_content").GetString()));
            Assert.EndsWith("</think>\n\n", engine.LastPrompt, StringComparison.Ordinal);
        }
        finally
        {
            File.Delete(file);
        }
    }

    [Fact]
    public async Task A_prefix_is_gone_on_with()
    {
        var engine = new ApiEngine();
        await using ApiHost host = await ApiHost.StartAsync(engine);
        await host.PostAsync("/beta/chat/completions", """{"model":"deepseek-chat","messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Well, ","prefix":true}]}""");
        Assert.EndsWith("<｜Assistant｜>Well, ", engine.LastPrompt, StringComparison.Ordinal);
        await host.PostAsync("/beta/chat/completions", """{"model":"deepseek-reasoner","messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Well, ","reasoning_content":"hm","prefix":true}]}""");
        Assert.EndsWith("<｜Assistant｜><think>\nhm\n</think>\n\nWell, ", engine.LastPrompt, StringComparison.Ordinal);
        engine.Reply = _ => "more\n</think>\n\nDone";
        JsonElement answer = await host.PostAsync("/beta/chat/completions", """{"model":"deepseek-reasoner","messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"","reasoning_content":"hm","prefix":true}]}""");
        Assert.EndsWith("<think>\nhm", engine.LastPrompt, StringComparison.Ordinal);
        Assert.Equal("more", answer.GetProperty("choices")[0].GetProperty("message").GetProperty("reasoning_content").GetString());
    }

    [Fact]
    public async Task Tool_calls_come_out_of_the_templates_form_and_go_back_into_it()
    {
        const string Calls = "Looking.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{\"city\": \"Kiel\"}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{\"city\": \"Rom\"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>";
        var engine = new ApiEngine { Reply = _ => Calls };
        await using ApiHost host = await ApiHost.StartAsync(engine);
        JsonElement choice = (await host.PostAsync("/v1/chat/completions", Hello + "," + WeatherTool + "}")).GetProperty("choices")[0];
        Assert.Equal("tool_calls", choice.GetProperty("finish_reason").GetString());
        Assert.Equal("Looking.", choice.GetProperty("message").GetProperty("content").GetString());
        JsonElement calls = choice.GetProperty("message").GetProperty("tool_calls");
        Assert.Equal(["""{"city": "Kiel"}""", """{"city": "Rom"}"""], calls.EnumerateArray().Select(call => call.GetProperty("function").GetProperty("arguments").GetString()!), StringComparer.Ordinal);
        Assert.Contains("### get_weather", engine.LastPrompt, StringComparison.Ordinal);

        List<JsonElement> events = await host.StreamAsync("/v1/chat/completions", Hello + ""","stream":true,""" + WeatherTool + "}");
        var arguments = new Dictionary<int, string>();
        foreach (JsonElement e in events)
        {
            if (!e.GetProperty("choices")[0].GetProperty("delta").TryGetProperty("tool_calls", out JsonElement delta)) continue;
            int index = delta[0].GetProperty("index").GetInt32();
            arguments[index] = arguments.GetValueOrDefault(index, "") + delta[0].GetProperty("function").GetProperty("arguments").GetString();
        }

        Assert.Equal(["""{"city": "Kiel"}""", """{"city": "Rom"}"""], arguments.OrderBy(pair => pair.Key).Select(pair => pair.Value), StringComparer.Ordinal);

        engine.Reply = _ => "It is cold.";
        await host.PostAsync("/v1/chat/completions", """{"model":"deepseek-chat","messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"get_weather","arguments":"{}"}}]},{"role":"tool","tool_call_id":"a","content":"3 C"}],""" + WeatherTool + "}");
        Assert.EndsWith("<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>3 C<｜tool▁output▁end｜><｜tool▁outputs▁end｜>", engine.LastPrompt, StringComparison.Ordinal);

        engine.Reply = _ => "{\"city\": \"Kiel\"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>";
        choice = (await host.PostAsync("/v1/chat/completions", Hello + ""","tool_choice":{"type":"function","function":{"name":"get_weather"}},""" + WeatherTool + "}")).GetProperty("choices")[0];
        Assert.EndsWith("<｜tool▁sep｜>get_weather\n```json\n", engine.LastPrompt, StringComparison.Ordinal);
        Assert.Equal("""{"city": "Kiel"}""", choice.GetProperty("message").GetProperty("tool_calls")[0].GetProperty("function").GetProperty("arguments").GetString());
        engine.Reply = _ => "plain";
        choice = (await host.PostAsync("/v1/chat/completions", Hello + ""","tool_choice":"none",""" + WeatherTool + "}")).GetProperty("choices")[0];
        Assert.DoesNotContain("get_weather", engine.LastPrompt, StringComparison.Ordinal);
        Assert.Equal("stop", choice.GetProperty("finish_reason").GetString());
    }

    [Fact]
    public async Task Log_probabilities_cover_the_text_alone()
    {
        await using ApiHost host = await ApiHost.StartAsync(new ApiEngine());
        foreach (bool stream in (bool[])[false, true])
        {
            string body = Think + $",\"logprobs\":true,\"top_logprobs\":2,\"stream\":{(stream ? "true" : "false")}}}";
            JsonElement[] found = stream
                ? [.. (await host.StreamAsync("/v1/chat/completions", body)).Select(e => e.GetProperty("choices")[0].GetProperty("logprobs")).Where(l => l.ValueKind == JsonValueKind.Object)]
                : [(await host.PostAsync("/v1/chat/completions", body)).GetProperty("choices")[0].GetProperty("logprobs")];
            JsonElement[] content = [.. found.SelectMany(l => l.GetProperty("content").EnumerateArray())];
            Assert.Equal("The answer is 42.", string.Concat(content.Select(token => token.GetProperty("token").GetString())).TrimStart('\n'));
            Assert.All(content, token => Assert.Equal(2, token.GetProperty("top_logprobs").GetArrayLength()));
            Assert.StartsWith("Let me think.", string.Concat(found.SelectMany(l => l.GetProperty("reasoning_content").EnumerateArray()).Select(token => token.GetProperty("token").GetString())), StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Parameters_arrive_at_the_engine()
    {
        var engine = new ApiEngine();
        await using ApiHost host = await ApiHost.StartAsync(engine);
        await host.PostAsync("/v1/chat/completions", Hello + ""","max_completion_tokens":7,"temperature":0,"top_p":0.5,"frequency_penalty":1,"presence_penalty":-1,"stop":["a","bc"],"seed":-1,"response_format":{"type":"json_object"},"unknown":[1]}""");
        GenerationRequest request = engine.Requests.Last();
        Assert.Equal((7, 0.0, 0.5, ulong.MaxValue), (request.MaxNewTokens, request.Sampling.Temperature, request.Sampling.TopP, request.Sampling.Seed));
        Assert.Equal((1.0, -1.0, OutputForm.JsonObject, "host"), (request.FrequencyPenalty, request.PresencePenalty, request.Form, request.Owner));
        Assert.Equal(["a", "bc"], request.Stop, StringComparer.Ordinal);
        await host.PostAsync("/v1/chat/completions", Think + ""","response_format":{"type":"json_object"}}""");
        Assert.Equal(ApiEngine.Tokenizer.RequireId("</think>"), engine.Requests.Last().FormBeginsAfter);
        JsonElement cut = await host.PostAsync("/v1/chat/completions", Hello + ""","max_tokens":2}""");
        Assert.Equal("length", cut.GetProperty("choices")[0].GetProperty("finish_reason").GetString());
    }

    [Fact]
    public async Task Text_completions_fill_in_the_middle_echo_and_report_tokens()
    {
        var engine = new ApiEngine();
        await using ApiHost host = await ApiHost.StartAsync(engine);
        JsonElement answer = await host.PostAsync("/beta/completions", """{"model":"deepseek-chat","prompt":"def f():","suffix":"return 1","max_tokens":64}""");
        Assert.Equal("<｜begin▁of▁sentence｜><｜fim▁begin｜>def f():<｜fim▁hole｜>return 1<｜fim▁end｜>", engine.LastPrompt);
        Assert.Equal("text_completion", answer.GetProperty("object").GetString());
        Assert.Equal("The answer is 42.", answer.GetProperty("choices")[0].GetProperty("text").GetString());
        answer = await host.PostAsync("/v1/completions", """{"model":"deepseek-chat","prompt":["Once "],"echo":true}""");
        Assert.Equal("Once The answer is 42.", answer.GetProperty("choices")[0].GetProperty("text").GetString());
        answer = await host.PostAsync("/v1/completions", """{"model":"deepseek-chat","prompt":[5,6,7],"logprobs":3}""");
        Assert.Equal([5, 6, 7], engine.Requests.Last().Prompt.ToArray());
        Assert.Equal("The answer is 42.", string.Concat(answer.GetProperty("choices")[0].GetProperty("logprobs").GetProperty("tokens").EnumerateArray().Select(t => t.GetString())));
        List<JsonElement> events = await host.StreamAsync("/v1/completions", """{"model":"deepseek-chat","prompt":"Once","stream":true,"stream_options":{"include_usage":true}}""");
        Assert.Equal("The answer is 42.", string.Concat(events.SelectMany(e => e.GetProperty("choices").EnumerateArray()).Select(c => c.GetProperty("text").GetString())));
        Assert.True(events[^1].GetProperty("usage").GetProperty("total_tokens").GetInt32() > 0);
    }

    [Fact]
    public async Task Models_balance_tokenize_and_detokenize_answer()
    {
        await using ApiHost host = await ApiHost.StartAsync(new ApiEngine("ocean"));
        JsonElement models = JsonDocument.Parse(await host.Client.GetStringAsync("/v1/models")).RootElement;
        Assert.Equal(["deepseek-chat", "deepseek-reasoner", "ocean"], models.GetProperty("data").EnumerateArray().Select(m => m.GetProperty("id").GetString()!), StringComparer.Ordinal);
        Assert.True(JsonDocument.Parse(await host.Client.GetStringAsync("/user/balance")).RootElement.GetProperty("is_available").GetBoolean());
        JsonElement tokens = await host.PostAsync("/tokenize", """{"prompt":"The deep sea","return_token_strs":true}""");
        Assert.Equal(tokens.GetProperty("count").GetInt32(), tokens.GetProperty("tokens").GetArrayLength());
        JsonElement back = await host.PostAsync("/v1/detokenize", $"{{\"tokens\":{tokens.GetProperty("tokens").GetRawText()}}}");
        Assert.Equal("<｜begin▁of▁sentence｜>The deep sea", back.GetProperty("prompt").GetString());
        Assert.Equal(5, (await host.PostAsync("/tokenize", """{"messages":[{"role":"user","content":"H"}]}""")).GetProperty("count").GetInt32() + 1);
    }

    [Theory]
    [InlineData("""{"model":"deepseek-chat","messages":[{"role":"user","content":"Hi"}],"temperature":"hot"}""", 422, "temperature is \"hot\"; expected a number from 0 to 2.", "temperature")]
    [InlineData("""{"model":"deepseek-chat","messages":[{"role":"user","content":"Hi"}],"max_tokens":0}""", 422, "max_tokens is 0; expected a whole number from 1", "max_tokens")]
    [InlineData("""{"model":"deepseek-chat","messages":[{"role":"king","content":"Hi"}]}""", 422, "messages[0].role is \"king\"; expected one of", "messages[0].role")]
    [InlineData("""{"model":"deepseek-chat","messages":[{"role":"user"}]}""", 422, "messages[0].content is missing", "messages[0].content")]
    [InlineData("""{"model":"deepseek-chat","messages":[]}""", 422, "messages is missing", "messages")]
    [InlineData("""{"model":"gpt-4","messages":[{"role":"user","content":"Hi"}]}""", 400, "Model Not Exist: \"gpt-4\"; expected one of deepseek-chat", "model")]
    [InlineData("""{"model":"deepseek-chat","messages":[{"role":"user","content":"Hi"}],"n":2}""", 422, "n is 2; expected 1", "n")]
    [InlineData("""{"model":"deepseek-chat","messages":[{"role":"user","content":"Hi"}],"top_logprobs":2}""", 422, "top_logprobs is given without logprobs", "top_logprobs")]
    [InlineData("""{"model":"deepseek-chat","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]}""", 422, "expected text", "messages[0].content[0].type")]
    [InlineData("""{"model":"deepseek-chat","messages":[{"role":"user","content":"\ud800"}]}""", 400, "half of a surrogate pair", null)]
    [InlineData("""[1]""", 400, "expected a JSON object", null)]
    [InlineData("""{"model":""", 400, "The body is no JSON: line 1", null)]
    public async Task Refusals_say_what_was_given_and_what_is_expected(string body, int status, string message, string? parameter)
    {
        await using ApiHost host = await ApiHost.StartAsync(new ApiEngine());
        (HttpStatusCode given, string said, string? where, _) = await host.RefusedAsync("/v1/chat/completions", body);
        Assert.Equal(status, (int)given);
        Assert.Contains(message, said, StringComparison.Ordinal);
        Assert.Equal(parameter, where);
    }

    [Fact]
    public async Task Faults_and_limits_have_the_originals_codes()
    {
        var engine = new ApiEngine(maxPositions: 32);
        await using ApiHost host = await ApiHost.StartAsync(engine);
        (HttpStatusCode status, string message, _, HttpResponseMessage response) = await host.RefusedAsync("/v1/chat/completions", Hello.Replace("Hi", new string('x', 100), StringComparison.Ordinal) + "}");
        Assert.Equal(HttpStatusCode.BadRequest, status);
        Assert.Contains("maximum context length is 32 tokens", message, StringComparison.Ordinal);
        engine.IsFull = true;
        (status, message, _, response) = await host.RefusedAsync("/v1/chat/completions", Hello + "}");
        Assert.Equal(HttpStatusCode.TooManyRequests, status);
        Assert.Equal(TimeSpan.FromSeconds(30), response.Headers.RetryAfter!.Delta);
        Assert.Contains("number 9 in line", message, StringComparison.Ordinal);
        engine.IsFull = false;
        engine.Fault = new InvalidDataException("the weights are damaged");
        (status, message, _, _) = await host.RefusedAsync("/v1/chat/completions", Hello + "}");
        Assert.Equal(HttpStatusCode.InternalServerError, status);
        Assert.DoesNotContain("weights", message, StringComparison.Ordinal);
        engine.Fault = null;
        engine.Reason = FinishReason.InsufficientResources;
        Assert.Equal("insufficient_system_resource", (await host.PostAsync("/v1/chat/completions", Hello + "}")).GetProperty("choices")[0].GetProperty("finish_reason").GetString());
        Assert.Equal(HttpStatusCode.NotFound, (await host.RefusedAsync("/v1/nothing", "{}")).Status);
        using HttpResponseMessage wrong = await host.Client.GetAsync("/v1/chat/completions");
        Assert.Equal(HttpStatusCode.MethodNotAllowed, wrong.StatusCode);
        Assert.Contains("expected POST", await wrong.Content.ReadAsStringAsync(), StringComparison.Ordinal);
    }
}
