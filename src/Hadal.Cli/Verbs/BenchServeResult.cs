#if SERVER
using System.Globalization;
using System.Text.Json;
using Hadal.Inference.Serving.Workers;

namespace Hadal.Cli.Verbs;

/// <summary>Seconds of a token without drafts, with drafts in every step, and with drafts where they pay, which were a share of the steps.</summary>
sealed record SpeculationRow(double Temperature, int Streams, double Acceptance, double Share, double Always, double Chosen, double Without);

/// <summary>What <c>hadal bench serve</c> found, as lines and as JSON.</summary>
sealed class BenchServeResult
{
    public List<LoadRow> Engine { get; } = [];

    public (double Session, double Engine)? Paging { get; set; }

    public List<LoadRow> HttpBare { get; } = [];

    public List<LoadRow> Http { get; } = [];

    public List<(double Temperature, double TopP, double PerToken)> Sampling { get; } = [];

    public List<SpeculationRow> Speculation { get; } = [];

    public List<(bool Fast, double Acceptance, double PerToken)> Fast { get; } = [];

    public List<(int Tokens, double Absorbed, double Expanded)> Forms { get; } = [];

    public ((int Prompt, int Answer) Reader, (int Prompt, int Answer) Writer, TimeSpan FirstToken, TimeSpan PerToken, double Pause)? Mixed { get; set; }

    public List<(string Name, bool Goals, int Turn, double Within, RouterReport Report, double FirstToken, double PerToken)> Workers { get; } = [];

    public double? StartSeconds { get; set; }

    public long StartBytes { get; set; }

    public IEnumerable<string> Lines()
    {
        if (Engine.Count > 0) yield return "The engine in this process:";
        foreach (LoadRow row in Engine) yield return row.ToString();
        if (Paging is { } paging)
            yield return Text($"Pages, plan and events: {1000 * paging.Engine:F3} ms a token by the engine, {1000 * paging.Session:F3} ms by a session alone ({100 * ((paging.Engine / paging.Session) - 1):+0.0;-0.0} %).");
        if (Http.Count > 0) yield return "The same engine without drafts, in this process and over HTTP:";
        for (int i = 0; i < Http.Count; i++)
        {
            LoadRow bare = HttpBare[i], http = Http[i];
            yield return Text($"{http.Streams,4} streams: each token {1000 * bare.PerToken:F3} and {1000 * http.PerToken:F3} ms ({100 * ((http.PerToken / bare.PerToken) - 1):+0.0;-0.0} %), first token {1000 * bare.FirstToken:F1} and {1000 * http.FirstToken:F1} ms");
        }

        foreach ((double temperature, double topP, double perToken) in Sampling)
            yield return Text($"Temperature {temperature:0.0}, top-p {topP:0.00}, 1 stream without drafts: {1000 * perToken:F3} ms a token ({1e6 * (perToken - Sampling[0].PerToken):+0;-0;0} µs beside the likeliest token)");
        foreach (SpeculationRow row in Speculation)
            yield return Text($"MTP at temperature {row.Temperature:0.0}, {row.Streams} streams: {100 * row.Acceptance:F1} % of drafts right; {1000 * row.Without:F3} ms a token without drafts, {1000 * row.Always:F3} with them always ({row.Without / row.Always:F2} times as fast), {1000 * row.Chosen:F3} where they pay ({row.Without / row.Chosen:F2}; {100 * row.Share:F0} % of steps)");
        foreach ((bool fast, double acceptance, double perToken) in Fast)
            yield return Text($"Sampled at temperature 1, {(fast ? "--fast (residual resampling)" : "default (same seed, same text)")}: {100 * acceptance:F1} % of drafts right, {1000 * perToken:F3} ms a token");
        foreach ((int length, double absorbed, double expanded) in Forms)
            yield return Text($"A prompt of {length} tokens: {1000 * absorbed:F1} ms in the form of decoding, which serving has for both phases, {1000 * expanded:F1} ms in that of training ({100 * ((absorbed / expanded) - 1):+0.0;-0.0} %)");
        if (Mixed is { } mixed)
            yield return Text($"Mixed load, one request each {1000 * mixed.Pause:F0} ms: prompts of {mixed.Reader.Prompt} with {mixed.Reader.Answer} tokens, prompts of {mixed.Writer.Prompt} with {mixed.Writer.Answer}; goals {mixed.FirstToken.TotalMilliseconds:F0} ms and {mixed.PerToken.TotalMilliseconds:F2} ms:");
        foreach ((string name, bool goals, int turn, double within, RouterReport report, double first, double each) in Workers)
        {
            yield return Text($"  {name}, goals {(goals ? "kept" : "only watched")}, turn {turn}: {100 * within:F1} % of requests within both, waiting included{(goals ? $", {Percent(report)} once taken" : "")}; median first token {1000 * first:F0} ms, each further {1000 * each:F2} ms; mean wait {report.MeanWait.TotalMilliseconds:F0} ms");
        }

        if (StartSeconds is double start) yield return Text($"Start: {start:F2} s until it serves, with {StartBytes / 1048576.0:F0} MiB.");
    }

    public void Write(Utf8JsonWriter json, BenchServeRun run)
    {
        json.WriteString("model", run.Model);
        json.WriteString("backend", run.Backend);
        json.WriteBoolean("speculation", run.Speculate);
        json.WriteNumber("rounds", run.Rounds);
        WriteRows("engine", Engine);
        if (Paging is { } paging)
        {
            json.WriteNumber("session_token_seconds", paging.Session);
            json.WriteNumber("paged_token_seconds", paging.Engine);
        }

        WriteRows("http_bare_engine", HttpBare);
        WriteRows("http", Http);
        json.WriteStartArray("sampling_rows");
        foreach ((double temperature, double topP, double perToken) in Sampling) Row(("temperature", temperature), ("top_p", topP), ("token_seconds", perToken));
        json.WriteEndArray();
        json.WriteStartArray("speculation_rows");
        foreach (SpeculationRow row in Speculation)
            Row(("temperature", row.Temperature), ("streams", row.Streams), ("acceptance", row.Acceptance), ("drafted_share_of_steps", row.Share), ("token_seconds", row.Chosen), ("token_seconds_always", row.Always), ("token_seconds_without", row.Without));
        json.WriteEndArray();
        json.WriteStartArray("fast_rows");
        foreach ((bool fast, double acceptance, double perToken) in Fast) Row(("fast", fast ? 1 : 0), ("acceptance", acceptance), ("token_seconds", perToken));
        json.WriteEndArray();
        json.WriteStartArray("form_rows");
        foreach ((int length, double absorbed, double expanded) in Forms) Row(("prompt_tokens", length), ("absorbed_seconds", absorbed), ("expanded_seconds", expanded));
        json.WriteEndArray();
        if (Mixed is { } mixed)
        {
            json.WriteStartObject("mixed_load");
            json.WriteNumber("mean_pause_seconds", mixed.Pause);
            json.WriteNumber("reader_prompt_tokens", mixed.Reader.Prompt);
            json.WriteNumber("reader_tokens", mixed.Reader.Answer);
            json.WriteNumber("writer_prompt_tokens", mixed.Writer.Prompt);
            json.WriteNumber("writer_tokens", mixed.Writer.Answer);
            json.WriteNumber("goal_first_token_seconds", mixed.FirstToken.TotalSeconds);
            json.WriteNumber("goal_token_seconds", mixed.PerToken.TotalSeconds);
            json.WriteStartArray("runs");
            foreach ((string name, bool goals, int turn, double within, RouterReport report, double first, double each) in Workers)
            {
                json.WriteStartObject();
                json.WriteString("workers", name);
                json.WriteBoolean("goals_kept", goals);
                json.WriteNumber("turn", turn);
                json.WriteNumber("within_goals_waiting_included", within);
                if (goals) json.WriteNumber("within_goals_once_taken", report.BothHeld / (double)report.Requests);
                json.WriteNumber("median_first_token_seconds", first);
                json.WriteNumber("median_token_seconds", each);
                json.WriteNumber("mean_wait_seconds", report.MeanWait.TotalSeconds);
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteEndObject();
        }

        if (StartSeconds is not double start) return;
        json.WriteNumber("start_seconds", start);
        json.WriteNumber("start_bytes", StartBytes);

        void WriteRows(string name, List<LoadRow> rows)
        {
            if (rows.Count == 0) return;
            json.WriteStartArray(name);
            foreach (LoadRow row in rows) row.Write(json);
            json.WriteEndArray();
        }

        void Row(params (string Name, double Value)[] values)
        {
            json.WriteStartObject();
            foreach ((string name, double value) in values) json.WriteNumber(name, value);
            json.WriteEndObject();
        }
    }

    static string Percent(RouterReport report) => Text($"{100.0 * report.BothHeld / report.Requests:F1} %");

    static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
#endif
