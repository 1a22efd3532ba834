using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Hadal.Inference.Serving;
using Hadal.Server.Hosting;
using Hadal.Server.Keys;
using Hadal.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;

namespace Hadal.Server.Api;

/// <summary>The API of DeepSeek and OpenAI, at <c>/</c>, <c>/v1</c> and <c>/beta</c>; every endpoint asks for a key.</summary>
static class ApiEndpoints
{
    const int UsualAnswer = 4096;
    const int UsualReasoning = 32_768;
    const int LongestStrictAnswer = 8192;
    const int LongestStrictReasoning = 65_536;

    public static void AddServices(IServiceCollection services)
    {
        services.AddSingleton<ModelCatalogue>();
        services.AddSingleton<GenerationRunner>();
    }

    public static void Map(IEndpointRouteBuilder routes)
    {
        RouteGroupBuilder api = routes.MapGroup("").RequireAuthorization(ApiKeyAuthentication.SchemeName).WithMetadata(ApiEndpoint.Instance);
        foreach (string root in (string[])["", "/v1", "/beta"])
        {
            api.MapPost($"{root}/chat/completions", ChatAsync).WithMetadata(GeneratesTokens.Instance);
            api.MapPost($"{root}/completions", TextAsync).WithMetadata(GeneratesTokens.Instance);
            api.MapGet($"{root}/models", ModelsAsync);
            api.MapGet($"{root}/models/{{name}}", ModelAsync);
            api.MapPost($"{root}/tokenize", TokenizeAsync);
            api.MapPost($"{root}/detokenize", DetokenizeAsync);
            api.MapGet($"{root}/user/balance", BalanceAsync);
        }
    }

    static async Task ChatAsync(HttpContext context)
    {
        ServerOptions options = context.RequestServices.GetRequiredService<ServerOptions>();
        ChatRequest request = await JsonFields.ReadAsync(context, ChatRequest.Take);
        ModelEntry entry = context.RequestServices.GetRequiredService<ModelCatalogue>().Require(request.Sampling.Model);
        ChatPrompt prompt = ChatPrompt.Render(request, entry, options);
        int most = MostTokens(request.Sampling, entry, options);
        RequireRoom(entry, prompt.Tokens.Length, "messages");
        var generation = new GenerationRequest
        {
            Prompt = prompt.Tokens,
            MaxNewTokens = most,
            Sampling = request.Sampling.Sampling(entry.Thinks, FixedByModel(entry, options)),
            FrequencyPenalty = FixedByModel(entry, options) ? 0 : request.Sampling.FrequencyPenalty,
            PresencePenalty = FixedByModel(entry, options) ? 0 : request.Sampling.PresencePenalty,
            Stop = request.Sampling.Stop,
            TopLogProbabilities = request.TopLogProbabilities,
            Form = request.Form,
            FormBeginsAfter = request.Form == OutputForm.JsonObject && prompt.Start == AnswerStart.Thought && entry.Tokenizer.TryGetId(SpecialTokens.ThinkEnd, out int end) ? end : null,
        };
        var writer = new ChatAnswerWriter(entry, request, prompt, Guid.NewGuid().ToString(), options.Time.GetUtcNow().ToUnixTimeSeconds());
        await context.RequestServices.GetRequiredService<GenerationRunner>().RunAsync(context, writer, generation);
    }

    static async Task TextAsync(HttpContext context)
    {
        ServerOptions options = context.RequestServices.GetRequiredService<ServerOptions>();
        TextRequest request = await JsonFields.ReadAsync(context, TextRequest.Take);
        ModelEntry entry = context.RequestServices.GetRequiredService<ModelCatalogue>().Require(request.Sampling.Model);
        if (options.StrictDeepSeek && entry.Thinks)
            throw new ApiException(ApiError.BadRequest($"{entry.Name} does not support completions and FIM (strict mode, as the original); expected {ModelCatalogue.Chat}.", "model"));
        int[] tokens = TextPrompt(request, entry);
        RequireRoom(entry, tokens.Length, "prompt");
        var generation = new GenerationRequest
        {
            Prompt = tokens,
            MaxNewTokens = MostTokens(request.Sampling, entry with { Thinks = false }, options),
            Sampling = request.Sampling.Sampling(thinks: false, fixedByModel: false),
            FrequencyPenalty = request.Sampling.FrequencyPenalty,
            PresencePenalty = request.Sampling.PresencePenalty,
            Stop = request.Sampling.Stop,
            TopLogProbabilities = request.TopLogProbabilities,
        };
        var writer = new TextAnswerWriter(entry, request, Guid.NewGuid().ToString(), options.Time.GetUtcNow().ToUnixTimeSeconds());
        await context.RequestServices.GetRequiredService<GenerationRunner>().RunAsync(context, writer, generation);
    }

    static bool FixedByModel(ModelEntry entry, ServerOptions options) => entry.Thinks && options.StrictDeepSeek;

    static int MostTokens(SamplingFields sampling, ModelEntry entry, ServerOptions options)
    {
        int longest = entry.Thinks ? LongestStrictReasoning : LongestStrictAnswer;
        if (options.StrictDeepSeek && sampling.MaxTokens > longest)
            throw new ApiException(ApiError.BadRequest($"Invalid max_tokens value {sampling.MaxTokens}, the valid range of max_tokens is [1, {longest}] (strict mode, as the original).", "max_tokens"));
        return sampling.MaxTokens ?? (entry.Thinks ? UsualReasoning : UsualAnswer);
    }

    static void RequireRoom(ModelEntry entry, int tokens, string field)
    {
        if (tokens >= entry.Model.MaxPositions)
        {
            throw new ApiException(ApiError.BadRequest(
                $"This model's maximum context length is {entry.Model.MaxPositions} tokens; {field} has {tokens}. Expected at most {entry.Model.MaxPositions - 1}, so that an answer of one token fits: shorten it.", field, "context_length_exceeded"));
        }
    }

    static int[] TextPrompt(TextRequest request, ModelEntry entry)
    {
        Tokenizer tokenizer = entry.Tokenizer;
        if (request.Tokens is int[] given)
        {
            foreach (int id in given)
                if (id >= tokenizer.VocabularySize) throw new ApiException(ApiError.Invalid("prompt", $"prompt has the token id {id}; expected ids from 0 to {tokenizer.VocabularySize - 1}."));
            return given;
        }

        if (request.Suffix is not null)
        {
            try
            {
                return [.. FillInTheMiddle.Prompt(tokenizer, request.Prompt!, request.Suffix)];
            }
            catch (InvalidOperationException exception)
            {
                throw new ApiException(ApiError.BadRequest($"{entry.Name} was not made to fill in the middle: {exception.Message}", "suffix"));
            }
        }

        var ids = new List<int>();
        if (tokenizer.TryGetId(SpecialTokens.BeginOfSentence, out int begin)) ids.Add(begin);
        tokenizer.Encode(request.Prompt!, ids);
        return ids.Count > 0 ? [.. ids] : throw new ApiException(ApiError.Invalid("prompt", "prompt is empty; expected at least one character."));
    }

    static Task ModelsAsync(HttpContext context)
    {
        ModelCatalogue catalogue = context.RequestServices.GetRequiredService<ModelCatalogue>();
        return WriteAsync(context, json =>
        {
            json.WriteString("object", "list");
            json.WriteStartArray("data");
            foreach (ModelEntry entry in catalogue.Entries)
            {
                json.WriteStartObject();
                WriteModel(json, entry);
                json.WriteEndObject();
            }

            json.WriteEndArray();
        });
    }

    static Task ModelAsync(HttpContext context)
    {
        string name = (string)context.Request.RouteValues["name"]!;
        ModelCatalogue catalogue = context.RequestServices.GetRequiredService<ModelCatalogue>();
        ModelEntry entry = catalogue.Find(name)
            ?? throw new ApiException(ApiError.NotFound($"There is no model \"{(name.Length > 80 ? name[..80] : name)}\"; expected one of {string.Join(", ", catalogue.Entries.Select(known => known.Name))}.", "model_not_found"));
        return WriteAsync(context, json => WriteModel(json, entry));
    }

    static void WriteModel(Utf8JsonWriter json, ModelEntry entry)
    {
        json.WriteString("id", entry.Name);
        json.WriteString("object", "model");
        json.WriteNumber("created", 0);
        json.WriteString("owned_by", "hadal");
        json.WriteNumber("max_model_len", entry.Model.MaxPositions);
        json.WriteBoolean("reasons", entry.Thinks);
        json.WriteString("system_fingerprint", entry.Fingerprint);
    }

    static async Task TokenizeAsync(HttpContext context)
    {
        ModelCatalogue catalogue = context.RequestServices.GetRequiredService<ModelCatalogue>();
        (ModelEntry entry, List<int> ids, bool texts) = await JsonFields.ReadAsync(context, body =>
        {
            ModelEntry model = catalogue.Require(body.Text("model") ?? ModelCatalogue.Chat);
            bool withTexts = body.Flag("return_token_strs");
            IReadOnlyList<ChatMessage> messages = ChatRequest.TakeTurns(body);
            if (messages.Count > 0) return (model, model.Template.Encode(model.Tokenizer, messages, addGenerationPrompt: true), withTexts);
            string prompt = body.Text("prompt") ?? throw body.Missing("prompt", "a text, or messages instead");
            var tokens = new List<int>();
            bool special = !body.TryGet("add_special_tokens", out _) || body.Flag("add_special_tokens");
            if (special && model.Tokenizer.TryGetId(SpecialTokens.BeginOfSentence, out int begin)) tokens.Add(begin);
            model.Tokenizer.Encode(prompt, tokens);
            return (model, tokens, withTexts);
        });
        await WriteAsync(context, json =>
        {
            json.WriteNumber("count", ids.Count);
            json.WriteNumber("max_model_len", entry.Model.MaxPositions);
            json.WriteStartArray("tokens");
            foreach (int id in ids) json.WriteNumberValue(id);
            json.WriteEndArray();
            if (!texts) return;
            json.WriteStartArray("token_strs");
            foreach (int id in ids) json.WriteStringValue(Encoding.UTF8.GetString(entry.Tokenizer.TokenBytes(id)));
            json.WriteEndArray();
        });
    }

    static async Task DetokenizeAsync(HttpContext context)
    {
        ModelCatalogue catalogue = context.RequestServices.GetRequiredService<ModelCatalogue>();
        string text = await JsonFields.ReadAsync(context, body =>
        {
            ModelEntry model = catalogue.Require(body.Text("model") ?? ModelCatalogue.Chat);
            if (!body.TryGet("tokens", out JsonElement value)) throw body.Missing("tokens", "an array of token ids");
            if (value.ValueKind != JsonValueKind.Array) throw body.Wrong("tokens", value, "an array of token ids");
            int[] tokens = value.GetArrayLength() == 0 ? [] : TextRequest.TakeTokens(body, "tokens", value);
            foreach (int id in tokens)
                if (id >= model.Tokenizer.VocabularySize) throw body.Refused("tokens", $"tokens has the id {id}; expected ids from 0 to {model.Tokenizer.VocabularySize - 1}.");
            return model.Tokenizer.Decode(tokens);
        });
        await WriteAsync(context, json => json.WriteString("prompt", text));
    }

    // Nothing costs money here; what may be used up is the day's tokens of a key.
    static Task BalanceAsync(HttpContext context)
    {
        ApiCaller caller = context.Features.GetRequiredFeature<ApiCaller>();
        KeyLimiter limiter = context.RequestServices.GetRequiredService<KeyLimiter>();
        long? left = limiter.TokensLeft(caller);
        return WriteAsync(context, json =>
        {
            json.WriteBoolean("is_available", left is null or > 0);
            json.WriteStartArray("balance_infos");
            json.WriteStartObject();
            json.WriteString("currency", "USD");
            json.WriteString("total_balance", "0.00");
            json.WriteString("granted_balance", "0.00");
            json.WriteString("topped_up_balance", "0.00");
            json.WriteEndObject();
            json.WriteEndArray();
            json.WriteStartObject("tokens");
            Optional("limit_per_day", caller.Key is ApiKey key ? limiter.TokensPerDay(key) : null);
            json.WriteNumber("used_today", caller.Key is ApiKey used ? limiter.TokensUsed(used) : 0);
            Optional("left_today", left);
            json.WriteEndObject();

            void Optional(string name, long? value)
            {
                if (value is long number) json.WriteNumber(name, number);
                else json.WriteNull(name);
            }
        });
    }

    static async Task WriteAsync(HttpContext context, Action<Utf8JsonWriter> write)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            json.WriteStartObject();
            write(json);
            json.WriteEndObject();
        }

        context.Response.ContentType = "application/json; charset=utf-8";
        context.Response.ContentLength = buffer.Length;
        await context.Response.Body.WriteAsync(buffer.GetBuffer().AsMemory(0, (int)buffer.Length), context.RequestAborted);
    }
}

/// <summary>Marks endpoints whose answers cost tokens.</summary>
sealed class GeneratesTokens
{
    GeneratesTokens()
    {
    }

    public static GeneratesTokens Instance { get; } = new();
}

/// <summary>Lets a recognised caller in: not while the server shuts down, not faster than its key allows, not beyond the day's tokens.</summary>
sealed class ApiGateMiddleware(RequestDelegate next, ServerState state, KeyLimiter limiter)
{
    public async Task InvokeAsync(HttpContext context)
    {
        Endpoint? endpoint = context.GetEndpoint();
        if (endpoint?.Metadata.GetMetadata<ApiEndpoint>() is not null && context.Features.Get<ApiCaller>() is ApiCaller caller) Admit(caller, endpoint);
        await next(context);
    }

    void Admit(ApiCaller caller, Endpoint endpoint)
    {
        bool generates = endpoint.Metadata.GetMetadata<GeneratesTokens>() is not null;
        if (generates && state.IsStopping) throw new ApiException(ApiError.Unavailable("The server is shutting down; it finishes the answers it began and takes no new request.", TimeSpan.FromSeconds(10)));
        if (caller.Key is not ApiKey key) return;
        TimeSpan wait = limiter.Take(key);
        if (wait > TimeSpan.Zero)
        {
            throw new ApiException(ApiError.TooMany(
                $"This key may send {limiter.RequestsPerMinute(key)} requests per minute and has sent them; expected the next one in {ApiError.Seconds(wait)} s.", "rate_limit_exceeded", wait));
        }

        if (generates && limiter.TokensLeft(caller) == 0) throw new ApiException(limiter.NoneLeft(limiter.TokensPerDay(key)!.Value));
    }
}
