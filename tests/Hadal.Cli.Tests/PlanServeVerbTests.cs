using System.Text.Json;

namespace Hadal.Cli.Tests;

/// <summary><c>hadal plan serve</c>, with a small search.</summary>
public sealed class PlanServeVerbTests
{
    static readonly string[] Small = ["plan", "serve", "--load", "20", "--prompt-tokens", "800", "--answer-tokens", "60", "--minutes", "20"];

    [Fact]
    public void A_plan_is_told_written_as_json_and_drawn_on_a_page()
    {
        using var scratch = new Scratch();
        File.WriteAllText(scratch["cluster.json"], """
            { "name": "four nodes", "nodes": 4, "gpus_per_node": 8, "memory_bytes": 80e9, "reserved_bytes": 6e9, "peak_flops": 989e12, "memory_bandwidth": 3.35e12, "node_bandwidth": 160e9, "network_bandwidth": 50e9 }
            """);
        Outcome json = HadalProcess.Inside([.. Small, "--cluster", scratch["cluster.json"], "--json", "--html", scratch["page.html"]]);
        Assert.True(json.Code == 0, json.ToString());
        JsonElement plan = JsonDocument.Parse(json.Output).RootElement;
        JsonElement answer = plan.GetProperty("answer");
        Assert.True(answer.GetProperty("redundant_experts").GetInt32() >= 0);
        Assert.True(answer.GetProperty("nodes_together").GetInt32() > 0);
        Assert.Equal(4, answer.GetProperty("nodes_there").GetInt32());
        Assert.True(answer.GetProperty("requests_per_second_of_those_together").GetDouble() > 20);
        Assert.Equal(answer.GetProperty("slots_per_gpu").GetInt32(), answer.GetProperty("prefill").GetProperty("slots_per_gpu").GetInt32());
        Assert.Equal(answer.GetProperty("decode_slots_per_gpu").GetInt32(), answer.GetProperty("decode").GetProperty("slots_per_gpu").GetInt32());
        Assert.Equal(4, plan.GetProperty("redundancy").GetArrayLength());
        Assert.True(plan.GetProperty("prefill_unit").GetProperty("balance_kept").GetDouble() < plan.GetProperty("prefill_unit").GetProperty("balance_in_order").GetDouble());
        Assert.All(plan.GetProperty("decode_units").EnumerateArray(), u => Assert.InRange(u.GetProperty("nodes_of_a_unit").GetInt32(), 1, 4));
        Assert.Equal(2, plan.GetProperty("published").GetArrayLength());
        string page = File.ReadAllText(scratch["page.html"]);
        Assert.Contains("<svg", page, StringComparison.Ordinal);
        Assert.DoesNotContain("<script", page, StringComparison.Ordinal);
        Assert.DoesNotContain("NaN", page, StringComparison.Ordinal);
        Assert.DoesNotContain("http", page.Replace("http://www.w3.org/2000/svg", "", StringComparison.Ordinal), StringComparison.Ordinal);
    }

    [Fact]
    public void What_cannot_be_planned_is_refused_with_the_reason()
    {
        using var scratch = new Scratch();
        Outcome none = HadalProcess.Inside("plan", "serve", "--routing", scratch["nowhere.json"]);
        Assert.Equal(1, none.Code);
        Assert.Contains("hadal inspect experts --output", none.Error, StringComparison.Ordinal);
        File.WriteAllText(scratch["other.json"], "{}");
        Outcome foreign = HadalProcess.Inside("plan", "serve", "--routing", scratch["other.json"]);
        Assert.Equal(1, foreign.Code);
        Assert.Contains("no routing file", foreign.Error, StringComparison.Ordinal);
        Outcome cluster = HadalProcess.Inside("plan", "serve", "--cluster", scratch["other.json"]);
        Assert.Equal(1, cluster.Code);
        Assert.Contains("is missing", cluster.Error, StringComparison.Ordinal);
        Assert.Equal(2, HadalProcess.Inside("plan", "serve", "--ttft", "0").Code);
        Assert.Equal(2, HadalProcess.Inside("plan", "serve", "--preset", "v4").Code);
    }
}
