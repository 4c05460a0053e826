# bash completion of vexfs(1)
_vexfs() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} cmd=${COMP_WORDS[1]}
	local commands='mount umount status wait search similar query set get rm import export export-tree import-tree collection snapshot verify mcp model help bench perf profile'
	if ((COMP_CWORD == 1)); then
		mapfile -t COMPREPLY < <(compgen -W "$commands --help --version" -- "$cur")
		return
	fi
	case $prev in
	--mode) mapfile -t COMPREPLY < <(compgen -W 'hybrid text vector' -- "$cur"); return ;;
	--metric) mapfile -t COMPREPLY < <(compgen -W 'l2 cosine dot l1 hamming' -- "$cur"); return ;;
	--dtype) mapfile -t COMPREPLY < <(compgen -W 'f32 f16 bf16 i8 binary' -- "$cur"); return ;;
	--format) mapfile -t COMPREPLY < <(compgen -W 'npy f32 json' -- "$cur"); return ;;
	-o) mapfile -t COMPREPLY < <(compgen -W 'allow_other ro components= transport= stack-warn= stack-critical= debug' -- "$cur"); return ;;
	esac
	if [[ $cur == -* ]]; then
		local opts=
		case $cmd in
		mount) opts='-f --foreground -o --store --model --mem-limit --listen --token-file' ;;
		umount) opts='--lazy' ;;
		status) opts='--json' ;;
		wait) opts='--durable --rescan' ;;
		search | similar | query)
			opts='-k -c --collection --mode --ef --exact --combine --filter --min-score --wait --stale --strict --at --payload -l -0 --json --jsonl'
			[[ $cmd == query ]] && opts+=' --vector'
			;;
		set) opts='--vector --payload --collection --durable' ;;
		get) opts='--format --payload --collection' ;;
		rm) opts='--collection --all' ;;
		import) opts='--into --metric --first-id --batch' ;;
		export) opts='--ids' ;;
		snapshot) opts='--json' ;;
		collection) opts='--dim --metric --dtype --target-recall --json' ;;
		model) opts='list add use --from --endpoint --model --key-file --json' ;;
		bench) opts='--seconds --points --dim -k --files-only --json' ;;
		perf) opts='--interval --count --json --save-baseline --baseline --drop-baseline' ;;
		profile) opts='--seconds --points --dim --csv --svg' ;;
		verify) opts='--repair --recall --json --store' ;;
		esac
		mapfile -t COMPREPLY < <(compgen -W "$opts --help" -- "$cur")
		return
	fi
	if [[ $cmd == snapshot ]] && ((COMP_CWORD == 2)); then
		mapfile -t COMPREPLY < <(compgen -W 'create list drop' -- "$cur")
		return
	fi
	if [[ $cmd == collection ]] && ((COMP_CWORD == 2)); then
		mapfile -t COMPREPLY < <(compgen -W 'create drop list info' -- "$cur")
		return
	fi
	compopt -o default
	COMPREPLY=()
}
complete -F _vexfs vexfs
